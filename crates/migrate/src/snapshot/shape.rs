//! The schema that was saved beside the one that was restored.

use similar::TextDiff;

use super::verify::Compared;
use crate::schema::{Change, ObjectChange, Schema};

/// Compares the schemas object by object. The same expression may come back in other words: PostgreSQL writes `x in ('a')` on a
/// `varchar` with its casts in one place, and reads that as casts in another. Such objects are no difference.
pub(super) fn compare(saved: Result<Schema, String>, restored: &Schema) -> Compared {
    let saved = match saved {
        Ok(saved) => saved,
        Err(reason) => return not_compared(&reason),
    };
    let difference = Schema::compare(&saved, restored);
    let unlike = difference.objects().iter().filter(|object| !same_meaning(object));
    Compared { differences: unlike.map(tell).collect(), notes: Vec::new() }
}

pub(super) fn not_compared(reason: &str) -> Compared {
    let notes = vec![format!("the schema was not compared: {reason}")];
    Compared { differences: Vec::new(), notes }
}

fn same_meaning(object: &ObjectChange) -> bool {
    object.change == Change::Changed && plain(&object.before) == plain(&object.after)
}

fn tell(object: &ObjectChange) -> String {
    let ObjectChange { kind, name, change, before, after } = object;
    match change {
        Change::Added => format!("{kind} {name} was not there"),
        Change::Removed => format!("{kind} {name} is missing"),
        Change::ColumnOrder => format!("{kind} {name} has its columns in another order"),
        Change::Changed => {
            let lines = TextDiff::from_lines(before.as_str(), after)
                .unified_diff()
                .context_radius(0)
                .to_string();
            let lines = lines.lines().filter(|line| !line.starts_with("@@"));
            let lines: String = lines.map(|line| format!("\n    {line}")).collect();
            format!("{kind} {name} is not as it was:{lines}")
        }
    }
}

/// Words of types after the first.
const MORE: [&str; 5] =
    [" varying", " precision", " without time zone", " with time zone", " bit varying"];

/// A definition without casts, parentheses and white space.
fn plain(definition: &str) -> String {
    let mut plain = String::new();
    let mut rest = definition;
    while let Some((before, cast)) = rest.split_once("::") {
        plain.push_str(before);
        rest = after_type(cast);
    }
    plain.push_str(rest);
    plain.retain(|c| !matches!(c, '(' | ')') && !c.is_whitespace());
    plain
}

/// What follows the name of a type, with its size and its brackets.
fn after_type(text: &str) -> &str {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        !(quoted || c.is_alphanumeric() || matches!(c, '_' | '.' | '"'))
    });
    let mut rest = &text[end.unwrap_or(text.len())..];
    for more in MORE {
        rest = rest.strip_prefix(more).unwrap_or(rest);
    }
    let size = rest.strip_prefix('(').and_then(|size| size.split_once(')'));
    if let Some((size, after)) = size
        && size.chars().all(|c| c.is_ascii_digit() || c == ',')
    {
        rest = after;
    }
    while let Some(after) = rest.strip_prefix("[]") {
        rest = after;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_in_other_places_mean_the_same() {
        let one = "CHECK (((a)::text = ANY ((ARRAY['x'::character varying, 'y'::character varying])::text[])))";
        let other = "CHECK (((a)::text = ANY (ARRAY[('x'::character varying)::text, ('y'::character varying(10))::text])))";
        assert_eq!(plain(one), plain(other));
        assert_ne!(plain(one), plain(&one.replace("'y'", "'z'")));
        assert_ne!(plain("column a integer"), plain("column a bigint"));
        assert_eq!(plain("'{}'::\"Odd type\"[] + 1"), "'{}'+1");
    }
}
