//! The check of a tree against the JSON Schema that the types make. Schema and checks cannot differ, since this is the only
//! check of keys, types and ranges, and it collects everything instead of stopping at the first.

use regex::Regex;
use serde_json::Value as Json;

use crate::Period;
use crate::nearest::{did_you_mean, list, nearest};
use crate::problem::Finding;
use crate::redact;
use crate::source::At;
use crate::tree::{Entry, Node, Table, Value};

/// What the check found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) list: Vec<Finding>,
    /// Values that must not be shown, though nothing may be wrong with them themselves.
    pub(crate) hidden: Vec<At>,
}

/// Checks `root` against `schema`. `files` are the names of the files it was made from, and `own` is the number of the
/// environment's own.
pub(crate) fn check(schema: &Json, root: &Node, files: &[String], own: usize) -> Findings {
    let mut walker = Walker { schema, files, own, found: Findings::default() };
    walker.passwords(root, &mut Vec::new());
    walker.value(schema, root, &mut Vec::new());
    walker.found
}

struct Walker<'a> {
    schema: &'a Json,
    files: &'a [String],
    own: usize,
    found: Findings,
}

/// A path of keys, such as `services.backend.port`, for messages.
fn dotted(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        if part.starts_with('[') || text.is_empty() {
            text.push_str(part);
        } else {
            text.push('.');
            text.push_str(part);
        }
    }
    redact::quoted(&text)
}

impl<'a> Walker<'a> {
    fn report(&mut self, finding: Finding) {
        self.found.list.push(finding);
    }

    /// The schema behind a `$ref` or an optional value, and the description nearest to its use.
    fn resolve(&self, schema: &'a Json) -> (&'a Json, Option<&'a str>) {
        let description = schema.get("description").and_then(Json::as_str);
        let inner = if let Some(Json::String(name)) = schema.get("$ref") {
            self.schema.pointer(name.trim_start_matches('#'))
        } else if let Some(Json::Array(options)) = schema.get("anyOf") {
            options.iter().find(|option| option.get("type") != Some(&Json::from("null")))
        } else {
            None
        };
        match inner {
            Some(inner) => {
                let (schema, inner) = self.resolve(inner);
                (schema, description.or(inner))
            }
            None => (schema, description),
        }
    }

    fn value(&mut self, schema: &'a Json, node: &Node, path: &mut Vec<String>) {
        let (schema, description) = self.resolve(schema);
        if schema.get("x-secret").is_some() && self.secret(schema, node, path) {
            return;
        }
        let alternatives = schema.get("oneOf").and_then(Json::as_array);
        if let Some(alternatives) = alternatives {
            return match constants(alternatives) {
                Some(allowed) => self.one_of(&allowed, node, path),
                None => self.tagged(alternatives, node, path),
            };
        }
        if let Some(allowed) = schema.get("enum").and_then(Json::as_array) {
            let allowed: Vec<&str> = allowed.iter().filter_map(Json::as_str).collect();
            return self.one_of(&allowed, node, path);
        }
        if !self.typed(schema, node, path, description) {
            return;
        }
        match &node.value {
            Value::String(text) => self.text(schema, text, node, path, description),
            Value::Integer(number) => self.number(schema, *number as f64, node, path),
            Value::Float(number) => self.number(schema, *number, node, path),
            Value::Array(items) => self.array(schema, items, node, path),
            Value::Table(table) => self.table(schema, table, node, path, None),
            Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }

    /// Whether the value is of a type that the schema has; says so if not.
    fn typed(
        &mut self,
        schema: &Json,
        node: &Node,
        path: &[String],
        description: Option<&str>,
    ) -> bool {
        let expected: Vec<&str> = match schema.get("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(many)) => {
                many.iter().filter_map(Json::as_str).filter(|t| *t != "null").collect()
            }
            _ => return true,
        };
        let fits = expected.iter().any(|name| {
            matches!(
                (*name, &node.value),
                ("string", Value::String(_))
                    | ("integer" | "number", Value::Integer(_))
                    | ("number", Value::Float(_))
                    | ("boolean", Value::Boolean(_))
                    | ("array", Value::Array(_))
                    | ("object", Value::Table(_))
            )
        });
        if !fits {
            let wanted: Vec<&str> = expected.iter().map(|name| type_words(name)).collect();
            let wanted = wanted.join(" or ");
            let message = format!("{} must be {wanted}, not {}", dotted(path), node.type_name());
            let parts = [Some(how_to_write(schema, &expected, node)), description];
            let help = parts.into_iter().flatten().collect::<Vec<_>>().join(": ");
            self.report(Finding::at(node.at, message).help(help));
        }
        fits
    }

    fn one_of(&mut self, allowed: &[&str], node: &Node, path: &[String]) {
        match node.text() {
            Some(text) if allowed.contains(&text) => {}
            Some(text) => {
                let message = format!("{} cannot be {}", dotted(path), redact::quoted(text));
                let help = did_you_mean(text, allowed.iter().copied());
                self.report(
                    Finding::at(node.at, message).help(format!("{help}allowed: {}", list(allowed))),
                );
            }
            None => {
                let message =
                    format!("{} must be a string, not {}", dotted(path), node.type_name());
                self.report(
                    Finding::at(node.at, message).help(format!("allowed: {}", list(allowed))),
                );
            }
        }
    }

    /// A table of several kinds, told apart by one key.
    fn tagged(&mut self, alternatives: &'a [Json], node: &Node, path: &mut Vec<String>) {
        let Some(tag) = alternatives.first().and_then(tag_of).map(|(key, _)| key) else { return };
        let kinds: Vec<&str> =
            alternatives.iter().filter_map(tag_of).map(|(_, kind)| kind).collect();
        let Some(table) = node.table() else {
            let message = format!("{} must be a table, not {}", dotted(path), node.type_name());
            let help = format!(
                "write `{{ {tag} = \"{}\", … }}`; `{tag}` is one of {}",
                kinds[0],
                list(&kinds)
            );
            return self.report(Finding::at(node.at, message).help(help));
        };
        let Some(entry) = table.get(tag) else {
            let message = format!("{} has no `{tag}`", dotted(path));
            let help = format!("`{tag}` says of which kind it is: {}", list(&kinds));
            return self.report(Finding::at(node.at, message).help(help));
        };
        let chosen = alternatives
            .iter()
            .find(|schema| tag_of(schema).map(|(_, kind)| kind) == entry.node.text());
        match chosen {
            Some(schema) => self.table(schema, table, node, path, entry.node.text()),
            None => {
                path.push(tag.to_owned());
                self.one_of(&kinds, &entry.node, path);
                path.pop();
            }
        }
    }

    fn table(
        &mut self,
        schema: &'a Json,
        table: &Table,
        node: &Node,
        path: &mut Vec<String>,
        kind: Option<&str>,
    ) {
        let none = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&none);
        let patterns = schema.get("patternProperties").and_then(Json::as_object);
        let closed = schema.get("additionalProperties") == Some(&Json::Bool(false));
        let mut meant = Vec::new();
        for (key, entry) in table {
            path.push(key.clone());
            if too_long(schema, key) {
                self.report(bad_name(key, entry));
            } else if let Some(schema) = schema.get("properties").and_then(|known| known.get(key)) {
                self.value(schema, &entry.node, path);
            } else if let Some(schema) = patterns.and_then(|all| matching(all, key)) {
                self.value(schema, &entry.node, path);
            } else if patterns.is_some() {
                self.report(bad_name(key, entry));
            } else if let Some(schema) =
                schema.get("additionalProperties").filter(|it| it.is_object())
            {
                self.value(schema, &entry.node, path);
            } else if closed {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                meant.extend(nearest(key, known.iter().copied()).map(str::to_owned));
                self.report(unknown_key(key, entry, &known, path, kind));
            }
            path.pop();
        }
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        let missing: Vec<&str> = required
            .filter_map(Json::as_str)
            // A key that is there under a wrong name is reported once.
            .filter(|key| !table.contains_key(*key) && !meant.iter().any(|name| name == key))
            .collect();
        for key in missing {
            let schema = schema.pointer(&format!("/properties/{key}")).unwrap_or(&Json::Null);
            self.missing(key, schema, node, path);
        }
    }

    fn missing(&mut self, key: &str, schema: &'a Json, node: &Node, path: &[String]) {
        let (schema, description) = self.resolve(schema);
        let is_table = schema.get("properties").is_some();
        let full: Vec<String> = path.iter().cloned().chain([key.to_owned()]).collect();
        let what = dotted(&full);
        let about = description.unwrap_or_default();
        if !path.is_empty() {
            let message = format!("{what} is missing");
            let help = format!("add `{key}` to {}: {about}", dotted(path));
            return self.report(Finding::at(node.at, message).help(help));
        }
        let header = if is_table { format!("the table `[{key}]`") } else { what };
        let message = format!("{header} is missing: neither {} has it", self.files.join(" nor "));
        let keys = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        let keys: Vec<&str> = keys.filter_map(Json::as_str).collect();
        let with = if keys.is_empty() { String::new() } else { format!(" with {}", list(&keys)) };
        let help = format!(
            "add `[{key}]`{with} to {} if all environments share it: {about}",
            self.files[0]
        );
        self.report(Finding::in_file(self.own, message).help(help));
    }

    fn array(&mut self, schema: &'a Json, items: &[Node], node: &Node, path: &mut Vec<String>) {
        let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            let message = format!("{} must have at least {least} entry", dotted(path));
            self.report(
                Finding::at(node.at, message)
                    .help("it is empty: add one, or leave out what it belongs to"),
            );
        }
        if let Some(schema) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                path.push(format!("[{index}]"));
                self.value(schema, item, path);
                path.pop();
            }
        }
    }

    fn number(&mut self, schema: &Json, number: f64, node: &Node, path: &[String]) {
        let format = schema.get("format").and_then(Json::as_str);
        let (low, high) = match format {
            Some("uint32") => (Some(0.0), Some(f64::from(u32::MAX))),
            Some("int32") => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
            _ => (None, None),
        };
        let low = schema.get("minimum").and_then(Json::as_f64).or(low);
        let high = schema.get("maximum").and_then(Json::as_f64).or(high);
        let inside = low.is_none_or(|low| number >= low) && high.is_none_or(|high| number <= high);
        if !inside || number.is_nan() {
            let allowed = match (low, high) {
                (Some(low), Some(high)) => format!("allowed: {low} to {high}"),
                (Some(low), None) => format!("allowed: {low} or more"),
                (None, Some(high)) => format!("allowed: {high} or less"),
                (None, None) => "allowed: a number".to_owned(),
            };
            self.report(
                Finding::at(node.at, format!("{} cannot be {number}", dotted(path))).help(allowed),
            );
        }
    }

    fn text(
        &mut self,
        schema: &Json,
        text: &str,
        node: &Node,
        path: &[String],
        description: Option<&str>,
    ) {
        let refused = match schema.get("format").and_then(Json::as_str) {
            Some("period") => text.parse::<Period>().err().map(|_| {
                "expected a number and a unit, such as `500ms`, `30s`, `5m`, `24h` or `1h 30m`"
                    .to_owned()
            }),
            Some("uri") => url::Url::parse(text).err().map(|why| {
                format!("it is not a URL ({why}); expected one such as `http://127.0.0.1:5000`")
            }),
            _ => refused_form(schema, text),
        };
        if let Some(why) = refused {
            let message = format!("{} cannot be {}", dotted(path), redact::quoted(text));
            let about = description.map(|about| format!(": {about}")).unwrap_or_default();
            self.report(Finding::at(node.at, message).help(format!("{why}{about}")));
        }
    }

    /// Where the source of a secret should stand: the secret itself is refused, and nothing of it is shown. Whether it was
    /// refused.
    fn secret(&mut self, schema: &Json, node: &Node, path: &[String]) -> bool {
        let Some(table) = node.table() else {
            let message = format!("{} holds a secret, or what looks like one", dotted(path));
            self.report(Finding::at(node.at, message).secret().help(NEVER));
            return true;
        };
        let known: Vec<&str> = schema
            .get("oneOf")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(|kind| kind.get("properties").and_then(Json::as_object))
            .flat_map(|properties| properties.keys().map(String::as_str))
            .collect();
        let strange = table.iter().filter(|(key, _)| !known.contains(&key.as_str()));
        self.found.hidden.extend(strange.map(|(_, entry)| entry.node.at));
        false
    }

    /// A password has no business in any value, whatever its key is.
    fn passwords(&mut self, node: &Node, path: &mut Vec<String>) {
        match &node.value {
            Value::String(text)
                if redact::holds_secret(text)
                    || !text.is_empty()
                        && path.last().is_some_and(|key| redact::names_secret(key)) =>
            {
                let message = format!("{} holds a secret, or what looks like one", dotted(path));
                self.report(Finding::at(node.at, message).secret().help(NEVER));
            }
            Value::Table(table) => {
                for (key, entry) in table {
                    path.push(key.clone());
                    self.passwords(&entry.node, path);
                    path.pop();
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(format!("[{index}]"));
                    self.passwords(item, path);
                    path.pop();
                }
            }
            _ => {}
        }
    }
}

const NEVER: &str = "say where it comes from instead, such as `{ from = \"env\", variable = \"NAME\" }` or \
    `{ from = \"ssm\", parameter = \"/application/environment/name\" }`; a secret that was ever committed must be changed";

/// How a value of the expected type is written, for somebody who wrote another.
fn how_to_write(schema: &Json, expected: &[&str], node: &Node) -> &'static str {
    let period = schema.get("format").and_then(Json::as_str) == Some("period");
    match (expected.first().copied(), &node.value) {
        (Some("string"), _) if period => "write a number and a unit in quotes, such as `\"30s\"`",
        (Some("string"), Value::Array(_) | Value::Table(_)) => "write one text in quotes",
        (Some("string"), _) => "put the value in quotes",
        (Some("integer" | "number"), Value::String(_)) => "write the number without quotes",
        (Some("integer"), Value::Float(_)) => "write a whole number",
        (Some("array"), _) => "put it in brackets, `[…]`",
        (Some("object"), _) => "write it as a table",
        _ => "write a value of that type",
    }
}

fn type_words(name: &str) -> &str {
    match name {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "a boolean",
        "array" => "an array",
        _ => "a table",
    }
}

/// The values of a `oneOf` of constants.
fn constants(alternatives: &[Json]) -> Option<Vec<&str>> {
    alternatives.iter().map(|schema| schema.get("const").and_then(Json::as_str)).collect()
}

/// The key that tells this alternative from the others, and its value.
fn tag_of(schema: &Json) -> Option<(&str, &str)> {
    schema
        .get("properties")
        .and_then(Json::as_object)?
        .iter()
        .find_map(|(key, schema)| Some((key.as_str(), schema.get("const").and_then(Json::as_str)?)))
}

fn matches(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

fn too_long(schema: &Json, key: &str) -> bool {
    let most = schema.pointer("/propertyNames/maxLength").and_then(Json::as_u64);
    most.is_some_and(|most| key.chars().count() as u64 > most)
}

fn matching<'a>(patterns: &'a serde_json::Map<String, Json>, key: &str) -> Option<&'a Json> {
    patterns.iter().find(|(pattern, _)| matches(pattern, key)).map(|(_, schema)| schema)
}

/// Why the schema's `pattern` or `maxLength` refuses a text.
fn refused_form(schema: &Json, text: &str) -> Option<String> {
    let pattern = schema.get("pattern").and_then(Json::as_str)?;
    let most = schema.get("maxLength").and_then(Json::as_u64);
    let long = most.is_some_and(|most| text.chars().count() as u64 > most);
    if matches(pattern, text) && !long {
        return None;
    }
    Some(match most {
        Some(most) => format!("use 1 to {most} {NAME}"),
        None => format!("it does not have the form `{pattern}`"),
    })
}

const NAME: &str = "lower-case letters, digits and single hyphens, starting with a letter and not ending with a hyphen";

fn bad_name(key: &str, entry: &Entry) -> Finding {
    Finding::at(entry.key, format!("{} cannot be a name here", redact::quoted(key)))
        .help(format!("use 1 to 16 {NAME}"))
}

fn unknown_key(
    key: &str,
    entry: &Entry,
    known: &[&str],
    path: &[String],
    kind: Option<&str>,
) -> Finding {
    let (_, above) = path.split_last().unwrap_or((&path[0], &[]));
    let place = match (above.is_empty(), kind) {
        (true, _) => String::new(),
        (false, Some(kind)) => format!(" in {} of kind `{kind}`", dotted(above)),
        (false, None) => format!(" in {}", dotted(above)),
    };
    let help = format!("{}allowed: {}", did_you_mean(key, known.iter().copied()), list(known));
    Finding::at(entry.key, format!("unknown key {}{place}", redact::quoted(key))).help(help)
}
