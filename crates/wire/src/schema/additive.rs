//! Whether a schema may take another's place without breaking anybody.
//!
//! For records we read, whatever was accepted must still be: no field less, none
//! newly required, no type, bound or word narrower. For records we write, a
//! subscriber who relied on the old schema must not be surprised: no field less,
//! none newly absent, no type or bound wider. Words may be added on both sides
//! (a new signal is not a new version): subscribers have to expect unknown ones.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Direction;

/// Whether `new` may take the place of `old`; the direction is what `old` says in
/// `x-direction` (input where it says nothing).
///
/// # Errors
/// Names the place and the change that would break a producer or a subscriber.
pub fn is_additive(old: &Value, new: &Value) -> Result<(), String> {
    let direction = match old.get("x-direction").and_then(Value::as_str) {
        Some("output") => Direction::Output,
        _ => Direction::Input,
    };
    Comparison { direction }.compare("", old, new)
}

struct Comparison {
    direction: Direction,
}

impl Comparison {
    fn compare(&self, at: &str, old: &Value, new: &Value) -> Result<(), String> {
        let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
            return if old == new {
                Ok(())
            } else {
                Err(format!("{at}/ has been replaced"))
            };
        };
        self.types(at, old, new)?;
        self.words(at, old, new)?;
        for (low, high) in [
            ("minimum", "maximum"),
            ("minLength", "maxLength"),
            ("minItems", "maxItems"),
        ] {
            self.bound(at, low, old, new, |old, new| new <= old)?;
            self.bound(at, high, old, new, |old, new| new >= old)?;
        }
        for keyword in ["const", "pattern", "format"] {
            self.restriction(at, keyword, old, new)?;
        }
        for keyword in ["$ref", "$id", "x-direction", "additionalProperties"] {
            if old.get(keyword) != new.get(keyword) {
                return Err(format!("{at}/{keyword} has changed"));
            }
        }
        self.required(at, old, new)?;
        for keyword in ["properties", "$defs"] {
            self.members(at, keyword, old, new)?;
        }
        for keyword in ["oneOf", "anyOf"] {
            self.branches(at, keyword, old, new)?;
        }
        match (old.get("items"), new.get("items")) {
            (Some(old), Some(new)) => self.compare(&format!("{at}/items"), old, new),
            (None, None) => Ok(()),
            _ => Err(format!("{at}/items has come or gone")),
        }
    }

    /// Every property that was described is still described, and compatible.
    fn members(
        &self,
        at: &str,
        keyword: &str,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> Result<(), String> {
        let Some(old) = old.get(keyword).and_then(Value::as_object) else {
            return Ok(());
        };
        for (name, old_member) in old {
            let at = format!("{at}/{keyword}/{name}");
            match new.get(keyword).and_then(|members| members.get(name)) {
                Some(new_member) => self.compare(&at, old_member, new_member)?,
                None => return Err(format!("{at} has been removed")),
            }
        }
        Ok(())
    }

    fn required(
        &self,
        at: &str,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> Result<(), String> {
        let names = |schema: &Map<String, Value>| texts(schema.get("required"));
        let (old, new) = (names(old), names(new));
        let broken = match self.direction {
            Direction::Input => new
                .difference(&old)
                .next()
                .map(|name| (name, "is newly required")),
            Direction::Output => old
                .difference(&new)
                .next()
                .map(|name| (name, "may now be absent")),
        };
        broken.map_or(Ok(()), |(name, change)| {
            Err(format!("{at}/properties/{name} {change}"))
        })
    }

    fn types(
        &self,
        at: &str,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> Result<(), String> {
        let types = |schema: &Map<String, Value>| {
            let mut types = texts(schema.get("type"));
            if types.contains("number") {
                types.insert("integer".to_owned()); // every integer is a number
            }
            types
        };
        let (old, new) = (types(old), types(new));
        // No `type` means any.
        let (inner, outer) = match self.direction {
            Direction::Input => (&old, &new),
            Direction::Output => (&new, &old),
        };
        let within = outer.is_empty() || (!inner.is_empty() && inner.is_subset(outer));
        if within {
            Ok(())
        } else {
            Err(format!("{at}/type was {old:?} and is {new:?}"))
        }
    }

    fn words(
        &self,
        at: &str,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> Result<(), String> {
        match (old.get("enum"), new.get("enum")) {
            (Some(old), Some(new)) => match texts(Some(old)).difference(&texts(Some(new))).next() {
                Some(word) => Err(format!("{at}/enum has lost {word:?}")),
                None => Ok(()),
            },
            (None, Some(_)) if self.direction == Direction::Input => {
                Err(format!("{at}/enum is new: any word was accepted"))
            }
            (Some(_), None) if self.direction == Direction::Output => {
                Err(format!("{at}/enum is gone: only its words were written"))
            }
            _ => Ok(()),
        }
    }

    /// `accepts(old, new)` says whether the new bound lets through all the old did.
    fn bound(
        &self,
        at: &str,
        keyword: &str,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
        accepts: fn(f64, f64) -> bool,
    ) -> Result<(), String> {
        let bound = |schema: &Map<String, Value>| schema.get(keyword).and_then(Value::as_f64);
        let (old, new) = match self.direction {
            Direction::Input => (bound(old), bound(new)),
            Direction::Output => (bound(new), bound(old)),
        };
        let within = match (old, new) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(old), Some(new)) => accepts(old, new),
        };
        if within {
            Ok(())
        } else {
            Err(format!("{at}/{keyword} has changed for the worse"))
        }
    }

    /// A keyword that restricts, and that cannot be compared but for equality.
    fn restriction(
        &self,
        at: &str,
        keyword: &str,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> Result<(), String> {
        let harmless = match (old.get(keyword), new.get(keyword)) {
            (Some(old), Some(new)) => old == new,
            (None, None) => true,
            (Some(_), None) => self.direction == Direction::Input,
            (None, Some(_)) => self.direction == Direction::Output,
        };
        if harmless {
            Ok(())
        } else {
            Err(format!("{at}/{keyword} has changed"))
        }
    }

    /// Every old branch lives on in a new one; where we write, no new branch comes
    /// in but a word.
    fn branches(
        &self,
        at: &str,
        keyword: &str,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> Result<(), String> {
        let at = format!("{at}/{keyword}");
        let (old, new) = match (old.get(keyword), new.get(keyword)) {
            (Some(Value::Array(old)), Some(Value::Array(new))) => (old, new),
            (None, None) => return Ok(()),
            _ => return Err(format!("{at} has come or gone")),
        };
        for (place, branch) in old.iter().enumerate() {
            if !new
                .iter()
                .any(|candidate| self.compare(&at, branch, candidate).is_ok())
            {
                return Err(format!("{at}/{place} has no compatible branch any more"));
            }
        }
        for (place, branch) in new.iter().enumerate() {
            let word = branch.get("const").is_some();
            let known = old
                .iter()
                .any(|former| self.compare(&at, former, branch).is_ok());
            if self.direction == Direction::Output && !word && !known {
                return Err(format!(
                    "{at}/{place} is a new form that subscribers do not expect"
                ));
            }
        }
        Ok(())
    }
}

/// A string, or an array of strings, as a set.
fn texts(value: Option<&Value>) -> BTreeSet<String> {
    match value {
        Some(Value::String(text)) => BTreeSet::from([text.clone()]),
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(direction: &str) -> Value {
        json!({
            "x-direction": direction,
            "type": "object",
            "required": ["id", "word"],
            "properties": {
                "id": { "type": "string", "maxLength": 512 },
                "word": { "type": "string", "enum": ["a", "b"] },
                "count": { "type": ["integer", "null"], "minimum": 0 },
                "when": { "type": "string", "format": "date-time" },
                "list": { "type": "array", "items": { "type": "string" } },
                "part": { "anyOf": [{ "type": "object", "properties": { "x": { "type": "string" } } }, { "type": "null" }] },
            },
        })
    }

    /// What is said of a change, in input and in output.
    fn judged(change: impl Fn(&mut Value)) -> [Result<(), String>; 2] {
        ["input", "output"].map(|direction| {
            let old = schema(direction);
            let mut new = old.clone();
            change(&mut new);
            assert_ne!(old, new, "the change changes something");
            is_additive(&old, &new)
        })
    }

    /// Whether a change is harmless in input and in output.
    fn harmless(change: impl Fn(&mut Value)) -> [bool; 2] {
        judged(change).map(|verdict| verdict.is_ok())
    }

    #[test]
    fn a_new_optional_field_is_harmless_on_both_sides() {
        assert_eq!(
            harmless(|s| s["properties"]["new"] = json!({ "type": "string" })),
            [true, true]
        );
    }

    #[test]
    fn a_new_word_is_harmless_on_both_sides_and_a_lost_one_on_none() {
        assert_eq!(
            harmless(|s| s["properties"]["word"]["enum"] = json!(["a", "b", "c"])),
            [true, true]
        );
        assert_eq!(
            harmless(|s| s["properties"]["word"]["enum"] = json!(["a"])),
            [false, false]
        );
    }

    #[test]
    fn a_removed_field_breaks_both_sides_at_any_depth() {
        let gone = |s: &mut Value| {
            s["properties"]
                .as_object_mut()
                .expect("an object")
                .remove("count");
        };
        let [input, output] = judged(gone);
        assert_eq!(input, Err("/properties/count has been removed".to_owned()));
        assert_eq!(output, input);
        assert_eq!(
            harmless(|s| s["properties"]["part"]["anyOf"][0]["properties"] = json!({})),
            [false, false]
        );
    }

    #[test]
    fn a_field_newly_required_breaks_producers_only() {
        let all = ["id", "word", "count"];
        assert_eq!(harmless(|s| s["required"] = json!(all)), [false, true]);
    }

    #[test]
    fn a_field_that_may_now_be_absent_breaks_subscribers_only() {
        assert_eq!(harmless(|s| s["required"] = json!(["id"])), [true, false]);
    }

    #[test]
    fn a_narrower_type_breaks_producers_and_a_wider_one_subscribers() {
        assert_eq!(
            harmless(|s| s["properties"]["count"]["type"] = json!("integer")),
            [false, true]
        );
        assert_eq!(
            harmless(|s| s["properties"]["count"]["type"] = json!(["number", "null"])),
            [true, false]
        );
        assert_eq!(
            harmless(|s| s["properties"]["id"]["type"] = json!("boolean")),
            [false, false]
        );
        assert_eq!(
            harmless(|s| s["properties"]["list"]["items"]["type"] = json!("integer")),
            [false, false]
        );
    }

    #[test]
    fn a_tighter_bound_breaks_producers_and_a_looser_one_subscribers() {
        assert_eq!(
            harmless(|s| s["properties"]["count"]["minimum"] = json!(1)),
            [false, true]
        );
        assert_eq!(
            harmless(|s| s["properties"]["id"]["maxLength"] = json!(1024)),
            [true, false]
        );
        assert_eq!(
            harmless(|s| s["properties"]["when"]["maxLength"] = json!(30)),
            [false, true]
        );
    }

    #[test]
    fn another_format_breaks_both_sides() {
        assert_eq!(
            harmless(|s| s["properties"]["when"]["format"] = json!("date")),
            [false, false]
        );
    }

    #[test]
    fn a_new_form_breaks_subscribers_only() {
        let wider = |s: &mut Value| {
            let forms = s["properties"]["part"]["anyOf"].as_array_mut();
            forms.expect("an array").push(json!({ "type": "boolean" }));
        };
        assert_eq!(harmless(wider), [true, false]);
    }
}
