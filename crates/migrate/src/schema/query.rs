//! The one query that reads the catalogs, as the server's version wants it.

/// Which rows it gives: see [`super::read`].
const PARTS: [&str; 6] = [
    include_str!("sql/relations.sql"),
    include_str!("sql/constraints.sql"),
    include_str!("sql/routines.sql"),
    include_str!("sql/types.sql"),
    include_str!("sql/database.sql"),
    include_str!("sql/privileges.sql"),
];

/// What changes the text that PostgreSQL makes of its catalogs, or how fast it makes it, and what it is set to for the reading.
const SETTINGS: [(&str, &str); 13] = [
    ("search_path", "pg_catalog, pg_temp"),
    ("quote_all_identifiers", "off"),
    ("standard_conforming_strings", "on"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// What is in no migration's hands.
const OWN: &str =
    "(select oid from pg_namespace where nspname <> 'information_schema' and nspname !~ '^pg_')";

/// Whatever belongs to a relation that is left out is left out too. The history of the migrations is none of their effects.
const RELATIONS: &str =
    "(select oid from pg_class where relkind in ('r', 'p', 'f', 'v', 'm', 'S', 'c')
    and relname <> 'refinery_schema_history' and not starts_with(relname, 'liftlock_schema_')
    and {own relnamespace} and {free pg_class oid})";

const TYPES: &str = "(select t.oid from pg_type t left join pg_class c on c.oid = t.typrelid
    where t.oid >= 16384 and t.typtype <> 'm' and (t.typrelid = 0 or c.relkind = 'c') and {own t.typnamespace} and {free pg_type t.oid}
      and t.oid not in (select typarray from pg_type where oid >= 16384 and typarray <> 0))";

/// Kinds that most databases have nothing of, each with the catalog and the column that tells: what users make has numbers from
/// 16384 on. To plan a query that finds nothing costs as much as to read a hundred tables.
const KINDS: [(&str, &str, &str); 29] = [
    ("views", "pg_rewrite", "oid"),
    ("sequences", "pg_sequence", "seqrelid"),
    ("constraints", "pg_constraint", "oid"),
    ("indexes", "pg_index", "indexrelid"),
    ("triggers", "pg_trigger", "oid"),
    ("policies", "pg_policy", "oid"),
    ("statistics", "pg_statistic_ext", "oid"),
    ("routines", "pg_proc", "oid"),
    ("aggregates", "pg_aggregate", "aggfnoid"),
    ("event triggers", "pg_event_trigger", "oid"),
    ("languages", "pg_language", "oid"),
    ("transforms", "pg_transform", "oid"),
    ("casts", "pg_cast", "oid"),
    ("operators", "pg_operator", "oid"),
    ("operator families", "pg_opfamily", "oid"),
    ("operator classes", "pg_opclass", "oid"),
    ("collations", "pg_collation", "oid"),
    ("conversions", "pg_conversion", "oid"),
    ("text search configurations", "pg_ts_config", "oid"),
    ("text search dictionaries", "pg_ts_dict", "oid"),
    ("text search parsers", "pg_ts_parser", "oid"),
    ("text search templates", "pg_ts_template", "oid"),
    ("access methods", "pg_am", "oid"),
    ("foreign data wrappers", "pg_foreign_data_wrapper", "oid"),
    ("servers", "pg_foreign_server", "oid"),
    ("user mappings", "pg_user_mappings", "umid"),
    ("publications", "pg_publication", "oid"),
    // PostgreSQL 13 shows their own numbers to superusers only; that of their database may be small.
    ("subscriptions", "pg_subscription", "subdbid::int8 + 16384"),
    ("default privileges", "pg_default_acl", "oid"),
];

/// Asks which of [`KINDS`] there are: a text with a 1 or a 0 for each.
pub(super) fn kinds() -> String {
    let each = |(_, catalog, column): &(&str, &str, &str)| {
        format!(
            "(select (coalesce(max({column})::int8, 0) >= 16384)::int::text from pg_catalog.{catalog})"
        )
    };
    let each: Vec<String> = KINDS.iter().map(each).collect();
    format!("select concat({})", each.join(", "))
}

/// All of it as one message, which the server runs in one transaction if none is open. What it sets is set back.
#[cfg(test)]
fn query(version: u32) -> String {
    query_of(version, &all(), None, "")
}

#[cfg(test)]
fn all() -> String {
    "1".repeat(KINDS.len())
}

/// Leaves out the statements that begin after `--if KIND` where `kinds`, the answer to [`kinds`], has none of that.
fn of_kinds(sql: &str, kinds: &str) -> String {
    let is_there = |kind: &str| {
        let index = KINDS.iter().position(|(name, ..)| *name == kind);
        kinds.as_bytes()[index.expect("it is one of the kinds")] == b'1'
    };
    let mut wanted = true;
    let mut of_kinds = String::new();
    for line in sql.lines() {
        match line.strip_prefix("--if ") {
            Some(kind) => wanted = is_there(kind),
            None if wanted => of_kinds.extend([line, "\n"]),
            None => {}
        }
        // A mark of the version may follow.
        wanted |= line.split(" --@").next().is_some_and(|line| line.trim_end().ends_with(';'));
    }
    of_kinds
}

/// The parts that are about relations: with `only`, an array, they are about these alone.
const OF_RELATIONS: usize = 2;

/// The same, of the `kinds` that there are, with `first` before it.
pub(super) fn query_of(version: u32, kinds: &str, only: Option<&str>, first: &str) -> String {
    let parts: Vec<String> = reading(version, kinds, only).collect();
    format!("{};\n{first}{};\n{}", keep(), parts.join(";\n"), set_back())
}

/// The statements that read what there is of `kinds`.
pub(super) fn reading(
    version: u32,
    kinds: &str,
    only: Option<&str>,
) -> impl Iterator<Item = String> {
    PARTS.iter().enumerate().flat_map(move |(index, part)| {
        let part = for_version(&of_kinds(part, kinds), version);
        let part = match only.filter(|_| index < OF_RELATIONS) {
            Some(only) => expand(&part.replace("{relations}", &these(only))),
            None => expand(&part),
        };
        statements(&part)
    })
}

/// Takes a text apart where a line ends with a semicolon, which a mark of the version may follow.
fn statements(sql: &str) -> Vec<String> {
    let (mut statements, mut statement) = (Vec::new(), String::new());
    for line in sql.lines() {
        let end = line.split(" --@").next().and_then(|line| line.trim_end().strip_suffix(';'));
        statement.extend([end.unwrap_or(line), "\n"]);
        if end.is_some() {
            statements.push(std::mem::take(&mut statement));
        }
    }
    statements
}

/// Those of the relations that are in the array `only`.
fn these(only: &str) -> String {
    let all = RELATIONS.strip_suffix(')').expect("it is in parentheses");
    format!("{all} and oid = any ({only}))")
}

/// The statement that sets what the reading needs, and keeps what was set before.
pub(super) fn keep() -> String {
    let each = SETTINGS.iter().map(|(name, value)| {
        let kept = kept(name);
        format!(
            "set_config('{kept}', current_setting('{name}'), true), set_config('{name}', '{value}', true)"
        )
    });
    format!("select {}", each.collect::<Vec<_>>().join(",\n    "))
}

/// The statement that sets it back.
pub(super) fn set_back() -> String {
    let each = SETTINGS
        .iter()
        .map(|(name, _)| format!("set_config('{name}', current_setting('{}'), true)", kept(name)));
    format!("select {}", each.collect::<Vec<_>>().join(",\n    "))
}

/// Where the value that a setting had is kept meanwhile.
fn kept(name: &str) -> String {
    format!("liftlock.{}", name.to_lowercase())
}

/// Leaves out the lines that end with `--@15+` (or `--@<15`) on versions that they are not for.
fn for_version(sql: &str, version: u32) -> String {
    let wanted = |line: &&str| {
        line.split("--@").skip(1).all(|mark| match mark.trim().strip_prefix('<') {
            Some(end) => end.parse().is_ok_and(|end: u32| version / 10_000 < end),
            None => mark.trim().strip_suffix('+').is_some_and(|begin| {
                begin.parse().is_ok_and(|begin: u32| version / 10_000 >= begin)
            }),
        })
    };
    sql.lines().filter(wanted).flat_map(|line| [line, "\n"]).collect()
}

/// Puts the SQL in that `{name argument}` stands for.
fn expand(sql: &str) -> String {
    let Some((before, rest)) = sql.split_once('{') else { return sql.to_owned() };
    let (inside, after) = rest.split_once('}').expect("a brace that is opened is closed");
    let (name, argument) = inside.split_once(' ').unwrap_or((inside, ""));
    format!("{before}{}{}", macro_sql(name, argument), expand(after))
}

fn macro_sql(name: &str, argument: &str) -> String {
    match name {
        "relations" => expand(RELATIONS),
        "types" => expand(TYPES),
        // In a schema of the user's.
        "own" => format!("{argument} in {OWN}"),
        // Not part of an extension.
        "free" => {
            let (class, id) = argument.split_once(' ').expect("a catalog and a column");
            format!(
                "{id} not in (select objid from pg_depend where classid = '{class}'::regclass
                     and refclassid = 'pg_extension'::regclass and deptype = 'e')"
            )
        }
        // Most have none, and the sub-query costs as much as all the rest of a column.
        "options" => format!(
            "case when {argument} is not null
                then (select string_agg(o, ', ' order by o) from unnest({argument}) o) end"
        ),
        "secret" => format!(
            "case when {argument} is not null
                then (select string_agg(case when o ~* '^[^=]*(pass|secret|token|key|credential)|://[^/]*:[^/]*@|password\\s*='
                                     then split_part(o, '=', 1) || '=(not shown)' else o end, ', ' order by o)
              from unnest({argument}) o) end"
        ),
        other => unreachable!("{other} stands for nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_for_some_versions_and_words_stand_for_more() {
        let sql = "a\nb --@15+\nc --@<15\nd --@14+ --@<17\n";
        assert_eq!(for_version(sql, 130_004), "a\nc --@<15\n");
        assert_eq!(for_version(sql, 160_001), "a\nb --@15+\nd --@14+ --@<17\n");
        assert_eq!(for_version(sql, 170_001), "a\nb --@15+\n");
        for version in [13, 14, 15, 16, 17, 18] {
            let query = query(version * 10_000);
            assert!(!query.contains('{') && !query.contains('}'));
            // A statement whose end stands in a line that was left out would swallow the next one.
            assert!(!query.contains(";;") && query.matches("\nselect ").count() > 40);
            assert_eq!(
                query.matches(";\n").count(),
                1 + reading(version * 10_000, &all(), None).count()
            );
        }
    }

    #[test]
    fn what_there_is_nothing_of_is_not_asked_for() {
        let none = query_of(150_000, &"0".repeat(KINDS.len()), None, "");
        for (kind, ..) in KINDS {
            let marked =
                |part: &&str| part.lines().any(|line| line.strip_prefix("--if ") == Some(kind));
            assert!(PARTS.iter().any(marked), "{kind} leaves something out");
        }
        assert!(
            !none.contains("--if")
                && !none.contains("'+policy'")
                && !none.contains("pg_subscription")
        );
        assert!(
            none.contains("'+schema'")
                && none.contains("'column'")
                && none.contains("'+extension'")
        );
        assert!(query(150_000).contains("'+policy'"));
    }
}
