//! The configuration's manual, made from its JSON Schema: what stands in the
//! fields' doc comments, with the defaults in force.

use serde_json::Value;

use super::Config;

/// All keys with type, default and meaning, as Markdown.
pub(crate) fn reference_markdown() -> String {
    let schema = schemars::schema_for!(Config).to_value();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut out = String::from(
        "# Configuration\n\n\
         One YAML file, given by `--config`. Every key is optional. Unknown keys and values that \
         contradict each other are refused before anything starts; `churnwatch validate` checks a \
         file, `churnwatch config show` prints it with every default filled in.\n\n\
         Lengths of time are a whole number and a unit: `ms`, `s`, `m`, `h` or `d`.\n",
    );
    section(&mut out, &schema, &schema, &defaults, "", 2);
    out
}

fn section(out: &mut String, root: &Value, schema: &Value, defaults: &Value, path: &str, depth: usize) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let mut rows = String::new();
    let mut deeper = Vec::new();
    for (name, property) in properties {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let target = resolve(root, property);
        let default = defaults.get(name).unwrap_or(&Value::Null);
        let meaning = text_of(property).or_else(|| text_of(target)).unwrap_or_default();
        let has_sections = target.get("properties").is_some() && !is_small(default);
        if has_sections {
            deeper.push((key, target, default, meaning));
        } else {
            rows.push_str(&format!("| `{name}` | {} | {meaning} |\n", shown(default)));
        }
    }
    if !rows.is_empty() {
        out.push_str("\n| key | default | meaning |\n|---|---|---|\n");
        out.push_str(&rows);
    }
    for (key, target, default, meaning) in deeper {
        out.push_str(&format!("\n{} `{key}`\n\n{meaning}\n", "#".repeat(depth.min(4))));
        section(out, root, target, default, &key, depth + 1);
    }
}

/// Follows `$ref`, `allOf` and the like to where the properties stand.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(path) = schema.get("$ref").and_then(Value::as_str)
        && let Some(target) = root.pointer(path.trim_start_matches('#'))
    {
        return resolve(root, target);
    }
    schema
        .get("allOf")
        .and_then(Value::as_array)
        .and_then(|all| all.first())
        .map_or(schema, |first| resolve(root, first))
}

/// A value that fits a table cell: a leaf, or one number per segment.
fn is_small(default: &Value) -> bool {
    match default {
        Value::Object(map) => !map.is_empty() && map.len() <= 3 && map.values().all(Value::is_number),
        _ => true,
    }
}

fn text_of(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|"))
}

fn shown(default: &Value) -> String {
    match default {
        Value::Null => "none".to_owned(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::Object(map) if map.is_empty() => "none".to_owned(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        other => format!("`{}`", other.to_string().replace('"', "").replace('|', "\\|")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_defaults_stands_in_the_manual_with_a_meaning() {
        let manual = reference_markdown();
        for key in ["`workers`", "`min_fall`", "`bootstrap_servers`", "`idle_clock`", "`block_cache_mib`"] {
            assert!(manual.contains(&format!("| {key} |")), "{key} is missing");
        }
        let silent: Vec<&str> =
            manual.lines().filter(|line| line.starts_with("| `") && line.ends_with("|  |")).collect();
        assert!(silent.is_empty(), "keys without a meaning: {silent:?}");
    }
}
