//! What a script takes away: tables and columns, by what the copy's catalogs show, with what the database holds in them. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::surface::{Relation, Surface};
use crate::shadow::sizes::{Sizes, TableSize, about};

/// A table or column that goes, or rows that do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Such as `table orders` or `column orders.note`.
    pub object: String,
    /// What is in it on the database, in words.
    pub holds: String,
    /// Whether the database has it, with rows, today.
    pub today: bool,
    /// Where the column is, for a look at how many rows have a value: full name of the table, name of the column.
    #[serde(skip)]
    pub(crate) column: Option<(String, String)>,
    /// The table's size.
    pub size: Option<TableSize>,
}

/// What the database holds.
pub(crate) struct Holdings<'a> {
    /// What was there when the batch of migrations began.
    pub(crate) base: &'a Surface,
    /// Its tables' names by the copy's numbers.
    pub(crate) origins: &'a BTreeMap<i64, String>,
    pub(crate) sizes: &'a Sizes,
}

/// What is there `before` a script and gone `after` it.
pub(crate) fn losses(before: &Surface, after: &Surface, holdings: &Holdings<'_>) -> Vec<Loss> {
    let now: BTreeMap<i64, &Relation> =
        after.relations.values().map(|one| (one.oid, one)).collect();
    let mut losses = Vec::new();
    for (name, old) in before.relations.iter().filter(|(_, old)| old.kind == "table") {
        match now.get(&old.oid) {
            None => losses.extend(holdings.table(name, old)),
            Some(new) => {
                let numbers: Vec<i16> = new.columns.values().map(|column| column.number).collect();
                let gone =
                    old.columns.iter().filter(|(_, column)| !numbers.contains(&column.number));
                losses
                    .extend(gone.filter_map(|(column, _)| holdings.column(name, old.oid, column)));
            }
        }
    }
    losses
}

impl Holdings<'_> {
    /// The table's name on the database, if it is there.
    fn origin<'a>(&'a self, name: &'a str, oid: i64) -> Option<&'a str> {
        let by_number = self.origins.get(&oid).map(String::as_str);
        by_number.or_else(|| self.base.relations.contains_key(name).then_some(name))
    }

    /// The size of a table of the copy, as the database has it.
    pub(crate) fn size(&self, name: &str, oid: i64) -> Option<TableSize> {
        self.origin(name, oid).and_then(|name| self.sizes.get(name)).copied()
    }

    fn table(&self, name: &str, relation: &Relation) -> Option<Loss> {
        let object = format!("table {}", shown(name));
        let Some(size) = self.size(name, relation.oid) else {
            return Some(since(object));
        };
        (!size.is_empty()).then(|| Loss {
            object,
            holds: size.to_string(),
            today: true,
            column: None,
            size: Some(size),
        })
    }

    fn column(&self, table: &str, oid: i64, column: &str) -> Option<Loss> {
        let object = format!("column {}.{column}", shown(table));
        let origin = self.origin(table, oid);
        let known = origin.filter(|origin| {
            self.base.relations.get(*origin).is_some_and(|old| old.columns.contains_key(column))
        });
        let Some(origin) = known else { return Some(since(object)) };
        let size = self.sizes.get(origin).copied()?;
        let place = Some((origin.to_owned(), column.to_owned()));
        let holds = format!("its table has {size}");
        (!size.is_empty()).then_some(Loss {
            object,
            holds,
            today: true,
            column: place,
            size: Some(size),
        })
    }
}

/// Something that the migrations themselves make.
fn since(object: String) -> Loss {
    let holds = "whatever was written to it since".to_owned();
    Loss { object, holds, today: false, column: None, size: None }
}

impl Loss {
    /// Says how many rows have a value, where the server's statistics know which part of them has none.
    pub(crate) fn with_null_fraction(&mut self, fraction: f32) {
        let rows = self.size.and_then(|size| size.rows);
        let Some(rows) = rows else { return };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an estimate"
        )]
        let with = (rows as f64 * (1.0 - f64::from(fraction))).round().max(0.0) as u64;
        self.holds = match with {
            0 => "no row holds a value, as far as the server's statistics know".into(),
            1 => "~1 row holds a value".into(),
            with => format!("{} hold a value", about(with)),
        };
        self.today = with > 0;
    }
}

/// `public` goes without saying.
fn shown(name: &str) -> &str {
    name.strip_prefix("public.").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::super::surface::Column;
    use super::*;

    fn table(oid: i64, columns: &[(&str, i16)]) -> Relation {
        let columns = columns.iter().map(|(name, number)| {
            ((*name).to_owned(), Column { number: *number, ..Column::default() })
        });
        Relation { oid, kind: "table", columns: columns.collect(), ..Relation::default() }
    }

    fn surface(tables: &[(&str, Relation)]) -> Surface {
        let relations =
            tables.iter().map(|(name, one)| ((*name).to_owned(), one.clone())).collect();
        Surface { relations, ..Surface::default() }
    }

    fn told(before: &Surface, after: &Surface, base: &Surface, rows: u64) -> Vec<(String, bool)> {
        let sizes: Sizes = base
            .relations
            .keys()
            .map(|name| (name.clone(), TableSize { rows: Some(rows), bytes: rows * 100 }))
            .collect();
        let origins = super::super::breaks::origins(base);
        let holdings = Holdings { base, origins: &origins, sizes: &sizes };
        losses(before, after, &holdings)
            .into_iter()
            .map(|loss| (format!("{}: {}", loss.object, loss.holds), loss.today))
            .collect()
    }

    #[test]
    fn what_goes_is_told_with_what_it_holds() {
        let base = surface(&[("public.a", table(1, &[("id", 1), ("note", 2)]))]);
        let without = surface(&[("public.a", table(1, &[("id", 1)]))]);
        assert_eq!(
            told(&base, &without, &base, 1200),
            [("column a.note: its table has ~1,200 rows, 117 kB".into(), true)]
        );
        assert_eq!(
            told(&base, &Surface::default(), &base, 1200),
            [("table a: ~1,200 rows, 117 kB".into(), true)]
        );
        assert_eq!(told(&base, &without, &base, 0), []);
        let more = surface(&[
            ("public.a", table(1, &[("id", 1), ("note", 2), ("x", 3)])),
            ("public.b", table(5, &[])),
        ]);
        let since = [
            "column a.x: whatever was written to it since",
            "table b: whatever was written to it since",
        ];
        assert_eq!(told(&more, &base, &base, 10), since.map(|text| (text.into(), false)));
        // A table that was renamed before it is dropped is still the one that has the rows.
        let renamed = surface(&[("public.z", table(1, &[("id", 1)]))]);
        assert_eq!(
            told(&renamed, &Surface::default(), &base, 1200),
            [("table z: ~1,200 rows, 117 kB".into(), true)]
        );
    }
}
