//! What the version that is running can no longer rely on. It knows objects by name, so names are what counts: a view that stands in
//! for a renamed table is as good as the table. Pure.

use std::collections::BTreeMap;

use super::surface::{Relation, Surface};

/// Something that the running version may rely on and that is no longer so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Break {
    /// Such as `table orders` or `column orders.note`.
    pub(crate) object: String,
    /// What happens to it.
    pub(crate) what: String,
    pub(crate) help: &'static str,
    /// Whether it surely fails; else it depends on what the version writes.
    pub(crate) certain: bool,
}

const LATER: &str = "take it away in a later migration with `-- migrate: phase contract`, which runs once the new version has proven itself";
const RENAME: &str = "add the new name beside the old one (a view, or a new column that is kept in step), and take the old one away in a \
                      migration with `-- migrate: phase contract`";
const RETYPE: &str = "add a new column of the new type beside it, keep both in step, and take the old one away in a migration with \
                      `-- migrate: phase contract`";
const REQUIRE: &str =
    "give it a default, or require it in a migration with `-- migrate: phase contract`";

/// What was there in `before` and is not usable in `after` as it was.
pub(crate) fn breaks(before: &Surface, after: &Surface) -> Vec<Break> {
    let mut found = Vec::new();
    for (name, old) in before.relations.iter().filter(|(_, old)| !old.partition) {
        match after.relations.get(name) {
            Some(new) => columns(name, old, new, &mut found),
            None => {
                let renamed = after.relations.iter().find(|(_, new)| new.oid == old.oid);
                let object = format!("{} {}", old.kind, shown(name));
                found.push(gone(object, renamed.map(|(name, _)| name)));
            }
        }
    }
    for (name, (oid, result)) in &before.functions {
        match after.functions.get(name) {
            Some((_, new)) if new != result => found.push(Break {
                object: format!("function {}", shown(name)),
                what: format!("changes its result from {result} to {new}"),
                help: "make a function of another name beside it",
                certain: true,
            }),
            Some(_) => {}
            None => {
                let renamed = after.functions.iter().find(|(_, (new, _))| new == oid);
                let object = format!("function {}", shown(name));
                found.push(gone(object, renamed.map(|(name, _)| name)));
            }
        }
    }
    enums(before, after, &mut found);
    found.sort();
    found
}

fn gone(object: String, renamed: Option<&String>) -> Break {
    match renamed {
        Some(new) => Break {
            object,
            what: format!("is renamed to {}", shown(new)),
            help: RENAME,
            certain: true,
        },
        None => Break { object, what: "is dropped".into(), help: LATER, certain: true },
    }
}

fn columns(table: &str, old: &Relation, new: &Relation, found: &mut Vec<Break>) {
    for (name, column) in &old.columns {
        let object = || format!("column {}.{name}", shown(table));
        let Some(now) = new.columns.get(name) else {
            let same = new.columns.iter().find(|(_, now)| now.number == column.number);
            let renamed = same.filter(|_| new.oid == old.oid).map(|(name, _)| name);
            found.push(gone(object(), renamed));
            continue;
        };
        if now.kind != column.kind && !widens(&column.kind, &now.kind) {
            let what = format!("changes its type from {} to {}", column.kind, now.kind);
            found.push(Break { object: object(), what, help: RETYPE, certain: true });
        }
        let required = now.not_null && !now.filled;
        let was_required = column.not_null && !column.filled;
        if required && !was_required && new.kind == "table" {
            let what = if column.not_null {
                "loses its default, and the running version may leave it out"
            } else {
                "must have a value from now on, and the running version may leave it out"
            };
            found.push(Break { object: object(), what: what.into(), help: REQUIRE, certain: true });
        }
    }
    if old.kind != "table" || new.kind != "table" {
        return;
    }
    for (name, column) in &new.columns {
        if !old.columns.contains_key(name) && column.not_null && !column.filled {
            let object = format!("column {}.{name}", shown(table));
            let what =
                "is new, must have a value and has no default: inserts of the running version fail"
                    .into();
            found.push(Break { object, what, help: REQUIRE, certain: true });
        }
    }
    constraints(table, old, new, found);
}

fn constraints(table: &str, old: &Relation, new: &Relation, found: &mut Vec<Break>) {
    let new_ones = new.constraints.iter().filter(|(name, _)| !old.constraints.contains_key(*name));
    for (name, kind) in new_ones {
        found.push(Break {
            object: format!("{kind} constraint {name} of {}", shown(table)),
            what: "is new: what the running version writes must keep it, too".into(),
            help: "make sure that it does",
            certain: false,
        });
    }
}

fn enums(before: &Surface, after: &Surface, found: &mut Vec<Break>) {
    for (name, (oid, labels)) in &before.enums {
        let object = format!("type {}", shown(name));
        let Some((_, now)) = after.enums.get(name) else {
            let renamed = after.enums.iter().find(|(_, (new, _))| new == oid);
            found.push(gone(object, renamed.map(|(name, _)| name)));
            continue;
        };
        for label in labels.iter().filter(|label| !now.contains(label)) {
            let what = format!("no longer has the value '{label}'");
            found.push(Break { object: object.clone(), what, help: LATER, certain: true });
        }
    }
}

/// Whether every value of type `old` is one of type `new`, for a program that reads and writes it.
fn widens(old: &str, new: &str) -> bool {
    let (old, new) = (Type::parse(old), Type::parse(new));
    let text = ["character varying", "text"];
    let integers = ["smallint", "integer", "bigint"];
    let place = |name: &str| integers.iter().position(|one| *one == name);
    if let (Some(old), Some(new)) = (place(&old.name), place(&new.name)) {
        return old <= new;
    }
    if text.contains(&old.name.as_str()) && text.contains(&new.name.as_str()) {
        // Without a length, anything fits.
        return new.sizes.is_empty() || (!old.sizes.is_empty() && old.sizes <= new.sizes);
    }
    if old.name != new.name {
        return false;
    }
    match (&old.sizes[..], &new.sizes[..]) {
        (_, []) => true,
        ([], _) => false,
        ([precision, scale], [wider, other]) => scale == other && precision <= wider,
        (old, new) => old.len() == new.len() && old <= new && !matches!(new, [_, _]),
    }
}

/// `numeric(12,2)` as its name and its numbers.
struct Type {
    name: String,
    sizes: Vec<u32>,
}

impl Type {
    fn parse(text: &str) -> Self {
        let Some((before, rest)) = text.split_once('(') else {
            return Self { name: text.to_owned(), sizes: Vec::new() };
        };
        let (sizes, after) = rest.split_once(')').unwrap_or((rest, ""));
        let sizes = sizes.split(',').filter_map(|size| size.trim().parse().ok()).collect();
        Self { name: format!("{before}{after}"), sizes }
    }
}

/// `public` goes without saying.
fn shown(name: &str) -> &str {
    name.strip_prefix("public.").unwrap_or(name)
}

/// Those of `now` that were not there `before`.
pub(crate) fn newly(before: &[Break], now: &[Break]) -> Vec<Break> {
    now.iter().filter(|one| !before.contains(one)).cloned().collect()
}

/// Names that objects of today had when the batch of migrations began, by number.
pub(crate) fn origins(surface: &Surface) -> BTreeMap<i64, String> {
    surface.relations.iter().map(|(name, relation)| (relation.oid, name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::surface::Column;
    use super::*;

    fn column(number: i16, kind: &str, not_null: bool, filled: bool) -> Column {
        Column { number, kind: kind.into(), not_null, filled }
    }

    fn surface(name: &str, oid: i64, kind: &'static str, columns: &[(&str, Column)]) -> Surface {
        let columns =
            columns.iter().map(|(name, column)| ((*name).to_owned(), column.clone())).collect();
        let relation = Relation { oid, kind, columns, ..Relation::default() };
        Surface { relations: [(name.to_owned(), relation)].into(), ..Surface::default() }
    }

    fn told(before: &Surface, after: &Surface) -> Vec<String> {
        breaks(before, after).iter().map(|one| format!("{} {}", one.object, one.what)).collect()
    }

    #[test]
    fn what_is_dropped_or_renamed_is_missed_and_a_stand_in_is_not() {
        let a =
            [("id", column(1, "bigint", true, true)), ("note", column(2, "text", false, false))];
        let before = surface("public.a", 1, "table", &a);
        assert_eq!(told(&before, &before), Vec::<String>::new());
        assert_eq!(told(&before, &Surface::default()), ["table a is dropped"]);
        assert_eq!(
            told(&before, &surface("public.b", 1, "table", &a)),
            ["table a is renamed to b"]
        );
        assert_eq!(told(&before, &surface("public.a", 9, "view", &a)), Vec::<String>::new());
        let renamed = [a[0].clone(), ("remark", column(2, "text", false, false))];
        assert_eq!(
            told(&before, &surface("public.a", 1, "table", &renamed)),
            ["column a.note is renamed to remark"]
        );
        assert_eq!(
            told(&before, &surface("public.a", 1, "table", &a[..1])),
            ["column a.note is dropped"]
        );
    }

    #[test]
    fn a_value_that_must_be_given_is_missed_unless_it_has_a_default() {
        let a = |not_null, filled| {
            surface("public.a", 1, "table", &[("x", column(1, "integer", not_null, filled))])
        };
        assert_eq!(told(&a(false, false), &a(true, false)).len(), 1);
        assert_eq!(told(&a(false, true), &a(true, true)), Vec::<String>::new());
        assert_eq!(told(&a(true, true), &a(true, false)).len(), 1);
        assert_eq!(told(&a(true, false), &a(true, false)), Vec::<String>::new());
        let more = |filled| {
            let both =
                [("x", column(1, "integer", true, false)), ("y", column(2, "text", true, filled))];
            surface("public.a", 1, "table", &both)
        };
        assert_eq!(told(&a(true, false), &more(false)).len(), 1);
        assert_eq!(told(&a(true, false), &more(true)), Vec::<String>::new());
    }

    #[test]
    fn wider_types_are_told_from_narrower_ones() {
        for (old, new) in [
            ("integer", "bigint"),
            ("character varying(10)", "character varying(20)"),
            ("character varying(10)", "text"),
            ("text", "character varying"),
            ("numeric(10,2)", "numeric(12,2)"),
            ("numeric(10,2)", "numeric"),
            ("timestamp(3) with time zone", "timestamp with time zone"),
            ("bit varying(3)", "bit varying(4)"),
        ] {
            assert!(widens(old, new), "{old} → {new}");
        }
        for (old, new) in [
            ("bigint", "integer"),
            ("text", "character varying(10)"),
            ("character varying(20)", "character varying(10)"),
            ("numeric(10,2)", "numeric(10,4)"),
            ("numeric", "numeric(10,2)"),
            ("text", "integer"),
            ("timestamp with time zone", "timestamp without time zone"),
            ("integer", "text"),
            ("character varying", "character varying(5)"),
        ] {
            assert!(!widens(old, new), "{old} → {new}");
        }
    }

    #[test]
    fn values_of_enum_types_and_results_of_functions_are_relied_on() {
        let mut before = Surface::default();
        before.enums.insert("public.state".into(), (1, vec!["new".into(), "done".into()]));
        before.functions.insert("public.f(integer)".into(), (2, "integer".into()));
        let mut after = before.clone();
        after.enums.insert(
            "public.state".into(),
            (1, vec!["new".into(), "finished".into(), "more".into()]),
        );
        after.functions.insert("public.f(integer)".into(), (3, "text".into()));
        assert_eq!(
            told(&before, &after),
            [
                "function f(integer) changes its result from integer to text",
                "type state no longer has the value 'done'"
            ]
        );
    }
}
