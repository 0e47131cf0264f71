//! From the text that `pg_dump` writes to the statements of a migration: without what it sets for its own session, and
//! without owners where those are whoever runs the migration. Pure.

use crate::script::inspect;

/// What a dump needs to be read as it was written. It ends with the migration.
pub(crate) const SETTINGS: &str = "select pg_catalog.set_config('search_path', '', true);
set local check_function_bodies = false;
set local xmloption = content;\n";

/// The same for a script that drops: names are whole.
pub(crate) const PATH: &str = "\nselect pg_catalog.set_config('search_path', '', true);\n";

/// How the statements begin that set something for a session of psql's: limits would undo those of the run, the rest is so
/// anyway, or is in [`SETTINGS`].
const FOR_ITS_SESSION: [&str; 12] = [
    "set statement_timeout",
    "set lock_timeout",
    "set idle_in_transaction_session_timeout",
    "set transaction_timeout",
    "set client_encoding",
    "set standard_conforming_strings",
    "set check_function_bodies",
    "set xmloption",
    "set client_min_messages",
    "set row_security",
    "select pg_catalog set_config",
    "set escape_string_warning",
];

/// What is left out of a dump.
#[derive(Debug, Clone)]
pub(crate) struct LeftOut<'a> {
    /// The user whose objects have no owner told, quoted where that must be; if left out, none has.
    pub(crate) user: Option<&'a str>,
    /// Extensions with comments of their own, quoted where they must be: other comments come with the extension, and not everybody
    /// may write them.
    pub(crate) commented: &'a [String],
    /// Statements that say what goes without saying.
    pub(crate) idle: &'a [String],
}

/// The statements of a dump, without what is left out.
pub(crate) fn statements(dump: &str, left_out: &LeftOut<'_>) -> Vec<String> {
    let sql = without_psql(dump);
    let all = inspect(&sql).statements;
    let texts = all.iter().map(|one| (&*one.opening, &sql[one.range.clone()]));
    texts
        .filter(|(opening, text)| left_out.keeps(opening, text))
        .map(|(_, text)| text.to_owned())
        .collect()
}

impl LeftOut<'_> {
    fn keeps(&self, opening: &str, text: &str) -> bool {
        if FOR_ITS_SESSION.iter().any(|begin| opening.starts_with(begin)) {
            return false;
        }
        if opening.starts_with("comment on extension") {
            return self
                .commented
                .iter()
                .any(|name| text.starts_with(&format!("COMMENT ON EXTENSION {name} IS ")));
        }
        if let Some(owner) = owner(opening, text) {
            return self.user.is_some_and(|user| owner != user);
        }
        !self.idle.iter().any(|idle| idle == text)
    }
}

/// The owner, of a statement that does nothing but name one.
fn owner<'a>(opening: &str, text: &'a str) -> Option<&'a str> {
    let (_, owner) = text.rsplit_once(" OWNER TO ").filter(|_| opening.starts_with("alter "))?;
    (!owner.contains('\n')).then_some(owner)
}

/// Without the two commands that keep psql from running others, which newer versions of `pg_dump` put around a dump.
fn without_psql(dump: &str) -> String {
    let keys: Vec<&str> =
        dump.lines().filter_map(|line| line.strip_prefix("\\restrict ")).take(1).collect();
    let Some(key) = keys.first() else { return dump.to_owned() };
    let ours = [format!("\\restrict {key}"), format!("\\unrestrict {key}")];
    let lines = dump.lines().filter(|line| !ours.iter().any(|own| own == line));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// One text of them, each on lines of its own.
pub(crate) fn text(statements: &[String]) -> String {
    statements.iter().map(|one| format!("\n{one};\n")).collect()
}

/// What a dump with `--clean` drops before it begins: the statements that `plain`, the same without that, does not have.
pub(crate) fn drops(clean: &[String], plain: &[String]) -> Vec<String> {
    let more = clean.len().saturating_sub(plain.len());
    let same = clean.iter().zip(plain).take_while(|(one, other)| one == other).count();
    // Those at the beginning that both have are settings.
    clean[same..].iter().take(more).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str =
        "--\n-- PostgreSQL database dump\n--\n\n\\restrict kEy1\n\nSET statement_timeout = 0;
SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);
-- Name: pgcrypto; Type: EXTENSION; Schema: -; Owner: -
CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public;
COMMENT ON EXTENSION pgcrypto IS 'cryptographic functions';
COMMENT ON EXTENSION \"uuid-ossp\" IS 'ours';
CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $$
\\restrict kEy1 is psql's;
SET lock_timeout = 0; ALTER TABLE a OWNER TO bob;
$$;
ALTER FUNCTION public.f() OWNER TO alice;
ALTER TABLE public.a OWNER TO \"Other One\";
SELECT pg_catalog.setval('public.a_id_seq', 1, false);
SELECT pg_catalog.setval('public.b_id_seq', 7, true);

\\unrestrict kEy1

";

    #[test]
    fn what_a_dump_sets_for_itself_is_left_out_and_nothing_else() {
        let idle = vec!["SELECT pg_catalog.setval('public.a_id_seq', 1, false)".to_owned()];
        let commented = vec!["\"uuid-ossp\"".to_owned()];
        let left_out = LeftOut { user: Some("alice"), commented: &commented, idle: &idle };
        let kept = statements(DUMP, &left_out);
        let begins: Vec<&str> =
            kept.iter().map(|text| text.lines().next().unwrap_or_default()).collect();
        assert_eq!(
            begins,
            [
                "CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public",
                "COMMENT ON EXTENSION \"uuid-ossp\" IS 'ours'",
                "CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $$",
                "ALTER TABLE public.a OWNER TO \"Other One\"",
                "SELECT pg_catalog.setval('public.b_id_seq', 7, true)",
            ]
        );
        assert!(kept[2].contains("SET lock_timeout = 0; ALTER TABLE a OWNER TO bob"));
        assert!(kept[2].contains("\n\\restrict kEy1 is psql's;"));
        let nobodys = LeftOut { user: None, ..left_out };
        assert!(!statements(DUMP, &nobodys).iter().any(|text| text.contains("Other One")));
        assert!(text(&kept).starts_with("\nCREATE EXTENSION"));
    }

    #[test]
    fn what_is_dropped_first_is_what_the_other_dump_has_not() {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let plain = list(&["SET a", "CREATE x", "CREATE y"]);
        let clean = list(&["SET a", "DROP y", "DROP x", "CREATE x", "CREATE y"]);
        assert_eq!(drops(&clean, &plain), ["DROP y", "DROP x"]);
        assert!(drops(&plain, &plain).is_empty());
    }
}
