//! As much of Markdown as links need: headings with their anchors, and links
//! with their lines. Code, whether fenced or inline, and comments hold neither.

use std::collections::{BTreeMap, BTreeSet};

/// What a Markdown file offers to links, and where its own links go.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The names that `#name` may lead to.
    pub(super) anchors: BTreeSet<String>,
    pub(super) links: Vec<Link>,
    /// `[text][name]` where no line defines `[name]:`.
    pub(super) undefined_references: Vec<Link>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) target: String,
}

pub(super) fn parse(text: &str) -> Document {
    let mut document = Document::default();
    let mut headings = Headings::default();
    let mut defined = BTreeSet::new();
    let mut references = Vec::new();
    let mut previous = String::new();
    for (index, line) in without_code_blocks_and_comments(text).iter().enumerate() {
        let line_number = index + 1;
        if let Some(heading) = atx_heading(line) {
            document.anchors.insert(headings.anchor(heading));
        } else if is_setext_underline(line) && !previous.trim().is_empty() {
            document.anchors.insert(headings.anchor(previous.trim()));
        }
        previous.clone_from(line);

        let prose = without_inline_code(line);
        let mut add = |target: &str| {
            document.links.push(Link {
                line: line_number,
                target: target.to_owned(),
            })
        };
        if let Some((name, target)) = definition(&prose) {
            defined.insert(name.to_lowercase());
            add(target);
            continue;
        }
        inline_targets(&prose).for_each(&mut add);
        attribute_values(&prose, &["href=\"", "src=\""]).for_each(&mut add);
        document
            .anchors
            .extend(attribute_values(&prose, &[" id=\"", " name=\""]).map(str::to_owned));
        references.extend(reference_names(&prose).map(|name| Link {
            line: line_number,
            target: name.to_owned(),
        }));
    }
    references.retain(|reference| !defined.contains(&reference.target.to_lowercase()));
    document.undefined_references = references;
    document
}

/// Gives headings their anchors as code-hosting sites do: a repeated one is
/// numbered.
#[derive(Default)]
struct Headings {
    seen: BTreeMap<String, usize>,
}

impl Headings {
    fn anchor(&mut self, heading: &str) -> String {
        let anchor = slug(heading);
        let repeats = self.seen.entry(anchor.clone()).or_default();
        *repeats += 1;
        if *repeats == 1 {
            anchor
        } else {
            format!("{anchor}-{}", *repeats - 1)
        }
    }
}

fn slug(heading: &str) -> String {
    let shown = shown_text(heading);
    let kept = shown
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase)
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// A heading without the targets of its links.
fn shown_text(heading: &str) -> String {
    let mut shown = String::new();
    let mut rest = heading;
    while let Some(at) = rest.find("](") {
        shown.push_str(&rest[..at]);
        let target = inline_target(&rest[at + 2..]);
        let after = target.map_or(at + 2, |target| at + 2 + target.len());
        rest = rest[after..].split_once(')').map_or("", |(_, after)| after);
    }
    shown + rest
}

/// Every line, emptied where it is (in) a fenced block or a comment.
fn without_code_blocks_and_comments(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut fence: Option<&str> = None;
    let mut in_comment = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        match fence {
            Some(open) => {
                if trimmed.starts_with(open)
                    && trimmed.trim_end().chars().all(|c| open.starts_with(c))
                {
                    fence = None;
                }
                lines.push(String::new());
            }
            None if !in_comment && (trimmed.starts_with("```") || trimmed.starts_with("~~~")) => {
                let mark = if trimmed.starts_with('`') { '`' } else { '~' };
                fence = Some(&trimmed[..trimmed.len() - trimmed.trim_start_matches(mark).len()]);
                lines.push(String::new());
            }
            None => lines.push(without_comments(line, &mut in_comment)),
        }
    }
    lines
}

fn without_comments(line: &str, in_comment: &mut bool) -> String {
    let mut kept = String::new();
    let mut rest = line;
    loop {
        let border = if *in_comment { "-->" } else { "<!--" };
        let (before, after) = rest
            .split_once(border)
            .map_or((rest, None), |(before, after)| (before, Some(after)));
        if !*in_comment {
            kept.push_str(before);
        }
        let Some(after) = after else { return kept };
        *in_comment = !*in_comment;
        rest = after;
    }
}

/// The line with what stands between runs of equally many backticks left out.
fn without_inline_code(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let run = rest[start..].len() - rest[start..].trim_start_matches('`').len();
        let after_open = &rest[start + run..];
        let Some(end) = closing_run(after_open, run) else {
            break;
        };
        kept.push_str(&rest[..start]);
        // Something has to stand there still: `[`code`](target)` has a text.
        kept.push('\u{b7}');
        rest = &after_open[end + run..];
    }
    kept + rest
}

/// Where a run of exactly `length` backticks starts.
fn closing_run(text: &str, length: usize) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = text[from..].find('`') {
        let start = from + found;
        let run = text[start..].len() - text[start..].trim_start_matches('`').len();
        if run == length {
            return Some(start);
        }
        from = start + run;
    }
    None
}

fn atx_heading(line: &str) -> Option<&str> {
    let level = line.len() - line.trim_start_matches('#').len();
    let text = line[level..].strip_prefix(' ')?;
    (1..=6)
        .contains(&level)
        .then(|| text.trim().trim_end_matches('#').trim_end())
}

fn is_setext_underline(line: &str) -> bool {
    let line = line.trim_end();
    line.len() >= 2 && (line.chars().all(|c| c == '=') || line.chars().all(|c| c == '-'))
}

/// `[name]: target`; footnotes, `[^1]: words`, are none.
fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, after) = line.trim_start().strip_prefix('[')?.split_once("]:")?;
    if name.starts_with('^') || name.contains(']') {
        return None;
    }
    let target = after.split_whitespace().next()?;
    Some((name, target.trim_start_matches('<').trim_end_matches('>')))
}

/// The targets of `[text](target)` and `![text](target "title")`.
fn inline_targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](")
        .filter_map(|(at, found)| inline_target(&line[at + found.len()..]))
}

/// The target at the start of what follows `](`: in angle brackets, or up to a
/// space or the bracket that closes the link.
fn inline_target(text: &str) -> Option<&str> {
    if let Some(bracketed) = text.strip_prefix('<') {
        return bracketed.split_once('>').map(|(target, _)| target);
    }
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(&text[..at]),
            ')' => depth -= 1,
            c if c.is_whitespace() => return Some(&text[..at]),
            _ => {}
        }
    }
    None
}

/// The names in `[text][name]`; of `[name][]` the text is the name.
fn reference_names(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("][").filter_map(|(at, found)| {
        let (name, _) = line[at + found.len()..].split_once(']')?;
        let text = || line[..at].rsplit_once('[').map(|(_, text)| text);
        if name.is_empty() { text() } else { Some(name) }
    })
}

/// The values of HTML attributes, each given with its `="`.
fn attribute_values<'a>(line: &'a str, attributes: &'a [&str]) -> impl Iterator<Item = &'a str> {
    attributes.iter().flat_map(move |attribute| {
        line.match_indices(attribute).filter_map(|(at, found)| {
            line[at + found.len()..]
                .split_once('"')
                .map(|(value, _)| value)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(text: &str) -> Vec<String> {
        parse(text)
            .links
            .into_iter()
            .map(|link| link.target)
            .collect()
    }

    fn anchors(text: &str) -> Vec<String> {
        parse(text).anchors.into_iter().collect()
    }

    #[test]
    fn links_of_every_form_are_found() {
        assert_eq!(
            targets("a [b](c.md) d ![e](f.png \"title\") [g](<h i.md>)"),
            ["c.md", "f.png", "h i.md"]
        );
        assert_eq!(
            targets("[a](b_(c).md) [`code`](d.md)"),
            ["b_(c).md", "d.md"]
        );
        assert_eq!(targets("text [a\nb](c.md)"), ["c.md"]);
        assert_eq!(
            targets("[a]: b.md \"title\"\n<img src=\"c.png\">"),
            ["b.md", "c.png"]
        );
    }

    #[test]
    fn code_and_comments_hold_no_links_and_no_headings() {
        let text =
            "```sh\n# no\n[a](b)\n~~~\n```\n`[c](d)` ``[e](`f)``\n<!-- [g](h)\n# no\n--> [i](j)";
        assert_eq!(targets(text), ["j"]);
        assert_eq!(anchors(text), [""; 0]);
    }

    #[test]
    fn a_line_is_counted_from_one_across_code() {
        let links = parse("```\nx\n```\n[a](b)").links;
        assert_eq!(
            links,
            [Link {
                line: 4,
                target: "b".into()
            }]
        );
    }

    #[test]
    fn anchors_are_spelled_as_code_hosting_sites_spell_them() {
        assert_eq!(
            anchors("# What `run` does: 1, 2 & 3"),
            ["what-run-does-1-2--3"]
        );
        assert_eq!(
            anchors("## See [the guide](docs/a_(b).md) first ##"),
            ["see-the-guide-first"]
        );
        assert_eq!(anchors("# snake_case and Größe"), ["snake_case-and-größe"]);
        assert_eq!(anchors("# A\n# A\n# A"), ["a", "a-1", "a-2"]);
        assert_eq!(
            anchors("Old style\n=========\n\n---\n<a id=\"here\"></a>"),
            ["here", "old-style"]
        );
    }

    #[test]
    fn a_hash_without_a_space_is_no_heading() {
        assert_eq!(anchors("#tag\n#!/bin/sh\n"), [""; 0]);
    }

    #[test]
    fn references_without_a_definition_are_told_from_those_with_one() {
        let document = parse("[a][One] [b][two] [three][]\n\n[one]: x\n[^1]: a footnote");
        let undefined: Vec<_> = document
            .undefined_references
            .iter()
            .map(|link| link.target.as_str())
            .collect();
        assert_eq!(undefined, ["two", "three"]);
    }
}
