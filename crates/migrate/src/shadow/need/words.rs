//! What a text of SQL says: its words, among which are the names of all that it reaches, and whether it may reach what no name in it
//! tells. Strings and bodies are looked into like everything else, since they may be run. Pure.

use std::collections::HashSet;

/// PostgreSQL cuts longer names off.
const NAME: usize = 63;

/// A text, taken apart.
pub(super) struct Words<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    all: HashSet<String>,
}

/// A word in lower case, or a sign, and where it begins and ends.
struct Token {
    text: String,
    word: bool,
    begin: usize,
    end: usize,
}

/// Of what begins with `pg_`, what reads no catalog.
const HARMLESS: [&str; 18] = [
    "pg_catalog",
    "pg_temp",
    "pg_sleep",
    "pg_sleep_for",
    "pg_notify",
    "pg_typeof",
    "pg_lsn",
    "pg_trigger_depth",
    "pg_backend_pid",
    "pg_current_xact_id",
    "pg_current_xact_id_if_assigned",
    "pg_current_snapshot",
    "pg_snapshot",
    "pg_column_size",
    "pg_size_pretty",
    "pg_client_encoding",
    "pg_is_in_recovery",
    "pg_get_serial_sequence",
];
/// Functions that run a text, or look something up by a name that a text gives.
const BY_TEXT: [&str; 14] = [
    "information_schema",
    "row_security_active",
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "cursor_to_xml",
    "table_to_xml",
    "table_to_xmlschema",
    "table_to_xml_and_xmlschema",
    "schema_to_xml",
    "database_to_xml",
    "ts_stat",
    "ts_rewrite",
    "tsvector_update_trigger_column",
];
/// Types whose values are objects, looked up by a text.
const OBJECTS: [&str; 11] = [
    "regclass",
    "regproc",
    "regprocedure",
    "regoper",
    "regoperator",
    "regtype",
    "regnamespace",
    "regrole",
    "regconfig",
    "regdictionary",
    "regcollation",
];
/// Functions that take a sequence, or a table, by a text.
const BY_NAME: [&str; 5] = ["nextval", "currval", "setval", "lastval", "pg_get_serial_sequence"];
/// What is altered or dropped with an effect on objects that are not named.
const FAR: [&str; 17] = [
    "schema",
    "extension",
    "operator",
    "collation",
    "cast",
    "conversion",
    "text",
    "language",
    "procedural",
    "trusted",
    "server",
    "access",
    "transform",
    "publication",
    "event",
    "owned",
    "system",
];
/// Objects that have no rows, on which others may rest.
const RESTED_ON: [&str; 7] =
    ["type", "domain", "function", "procedure", "routine", "aggregate", "sequence"];

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let tokens = tokens(text);
        let words = tokens.iter().filter(|token| token.word);
        let all = words.flat_map(|token| [token.text.clone(), cut(&token.text)]).collect();
        Self { text, tokens, all }
    }

    /// Those that are words.
    pub(super) fn all(&self) -> &HashSet<String> {
        &self.all
    }

    /// Whether a name that is more than one word may stand in it.
    pub(super) fn may_name(&self, name: &str) -> bool {
        parts(name).all(|part| self.all.iter().any(|word| word.starts_with(&part)))
    }

    /// Whether others that rest on a type, a function or a sequence may be changed with it.
    pub(super) fn strikes(&self) -> bool {
        self.pairs()
            .any(|(first, second)| matches!(first, "alter" | "drop") && RESTED_ON.contains(&second))
    }

    /// Whether what refers to a table may be emptied with it.
    pub(super) fn truncates(&self) -> bool {
        self.all.contains("truncate") && self.all.contains("cascade")
    }

    /// What of it may reach objects that it does not name.
    pub(super) fn beyond_names(&self) -> Option<String> {
        let far = |(first, second): (&str, &str)| {
            let changes = matches!(first, "alter" | "drop") && FAR.contains(&second);
            let all = first == "all"
                && matches!(
                    second,
                    "tables" | "sequences" | "functions" | "procedures" | "routines"
                );
            let whole = first == "reindex" && matches!(second, "schema" | "database" | "system");
            let others = matches!((first, second), ("reassign", "owned") | ("import", "foreign"));
            (changes || all || whole || others).then(|| format!("{first} {second}"))
        };
        self.pairs()
            .find_map(far)
            .or_else(|| (0..self.tokens.len()).find_map(|index| self.beyond_at(index)))
            .or_else(|| self.reads_catalogs())
            .or_else(|| self.escapes().then(|| "an escape in a name".to_owned()))
    }

    fn beyond_at(&self, index: usize) -> Option<String> {
        let next = self.word(index + 1);
        let word = self.tokens[index].text.as_str();
        let reaches = match word {
            "execute" => {
                !matches!(next, Some("function" | "procedure" | "on")) && !self.is_plain(index)
            }
            "analyze" | "analyse" | "vacuum" | "cluster" => {
                next.is_none_or(|next| matches!(next, "verbose" | "full" | "freeze" | "analyze"))
            }
            "extension" | "publication" | "tablespace" => true,
            "foreign" => {
                let before = index.checked_sub(1).and_then(|before| self.word(before));
                matches!(before, Some("alter" | "drop")) && next != Some("table")
            }
            "language"
                if ["function", "procedure", "do"].iter().any(|one| self.all.contains(*one)) =>
            {
                let begin = self.tokens[index].end;
                let rest = self.text[begin..].trim_start().trim_start_matches(['\'', '"']);
                let language: String = rest.chars().take_while(|c| is_part(*c)).collect();
                !matches!(language.to_lowercase().as_str(), "sql" | "plpgsql")
            }
            _ => word.starts_with("crosstab") || word.starts_with("dblink") || word == "connectby",
        };
        reaches.then(|| format!("{word} {}", next.unwrap_or_default()).trim_end().to_owned())
    }

    /// What of it may read a catalog, or look an object up by a text that is made while it runs.
    pub(super) fn reads_catalogs(&self) -> Option<String> {
        let reads = |(index, token): (usize, &Token)| {
            let word = token.text.as_str();
            let reads = word.starts_with("pg_") && !is_harmless(word)
                || BY_TEXT.contains(&word)
                || word.starts_with("to_reg")
                || word.starts_with("has_") && word.ends_with("_privilege")
                || OBJECTS.contains(&word) && !self.of_literal(index)
                || BY_NAME.contains(&word) && !self.has_literal(index);
            reads.then(|| word.to_owned())
        };
        self.tokens.iter().enumerate().find_map(reads)
    }

    /// `'name'::regclass`.
    fn of_literal(&self, index: usize) -> bool {
        let before = self.text[..self.tokens[index].begin].trim_end();
        let before = before.strip_suffix("pg_catalog.").unwrap_or(before).trim_end();
        before.strip_suffix("::").is_some_and(|before| before.trim_end().ends_with('\''))
    }

    /// `nextval('name')`, `pg_get_serial_sequence('name', 'name')`, and one in the other.
    fn has_literal(&self, index: usize) -> bool {
        let Some(rest) = self.text[self.tokens[index].end..].trim_start().strip_prefix('(') else {
            // Not a call.
            return true;
        };
        let rest = rest.trim_start();
        if rest.starts_with(')') || rest.to_lowercase().starts_with("pg_get_serial_sequence") {
            return true;
        }
        let literal = rest.trim_start_matches('\'');
        let Some(end) = literal.find('\'').filter(|_| literal.len() < rest.len()) else {
            return false;
        };
        let after = literal[end..].trim_start_matches('\'').trim_start();
        after.starts_with([',', ')']) || after.starts_with("::")
    }

    /// `execute 'text'`, of one string that stands there.
    fn is_plain(&self, index: usize) -> bool {
        let rest = self.text[self.tokens[index].end..].trim_start();
        let Some(literal) = rest.strip_prefix('\'') else { return false };
        let Some(end) = literal.find('\'') else { return false };
        let after = literal[end + 1..].trim_start().to_lowercase();
        after.starts_with(';') || after.starts_with("using ") || after.starts_with("into ")
    }

    /// `U&"\0061"`, `E'\x61'`.
    fn escapes(&self) -> bool {
        let lower = self.text.to_lowercase();
        let quoted =
            |sign: &str| lower.match_indices(sign).any(|(at, _)| !lower[..at].ends_with(is_part));
        let escaped = lower.match_indices('\\').any(|(at, _)| {
            lower[at + 1..].starts_with(['x', 'u', '0', '1', '2', '3', '4', '5', '6', '7'])
        });
        quoted("u&\"") || quoted("u&'") || quoted("e'") && escaped
    }

    fn word(&self, index: usize) -> Option<&str> {
        self.tokens.get(index).filter(|token| token.word).map(|token| token.text.as_str())
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tokens.windows(2).map(|pair| (pair[0].text.as_str(), pair[1].text.as_str()))
    }
}

/// The words that a name is made of.
pub(super) fn parts(name: &str) -> impl Iterator<Item = String> {
    let lower = name.to_lowercase();
    let parts = lower.split(|c| !is_part(c)).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Whether a name is one word, so that it can only stand in a text as that.
pub(super) fn is_word(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_part)
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || !c.is_ascii()
}

fn is_harmless(word: &str) -> bool {
    HARMLESS.contains(&word)
        || word.starts_with("pg_advisory_")
        || word.starts_with("pg_try_advisory_")
}

/// As PostgreSQL cuts a name off.
fn cut(word: &str) -> String {
    let end = (0..=NAME.min(word.len())).rev().find(|at| word.is_char_boundary(*at));
    word[..end.unwrap_or(0)].to_owned()
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (begin, c) in text.char_indices() {
        let end = begin + c.len_utf8();
        if c.is_whitespace() {
            continue;
        }
        match tokens.last_mut() {
            Some(last) if last.word && is_part(c) && last.end == begin => {
                last.text.extend(c.to_lowercase());
                last.end = end;
            }
            _ => {
                tokens.push(Token {
                    text: c.to_lowercase().collect(),
                    word: is_part(c),
                    begin,
                    end,
                });
            }
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_name_tells_is_found() {
        for sql in [
            "select relname from pg_class",
            "select 1 from INFORMATION_SCHEMA.tables",
            "do $$ begin execute format('drop table %I', t); end $$",
            "do $$ begin execute 'drop table ' || t; end $$",
            "do $$ begin execute v; end $$",
            "do 'begin execute ''drop table '' || t; end'",
            "select x::regclass",
            "select to_regclass('t')",
            "select ('t' || 1)::regclass",
            "grant select on all tables in schema public to app",
            "drop  schema a cascade",
            "alter schema a rename to b",
            "create extension hstore",
            "drop operator @@ (a, b)",
            "select nextval('s_' || 1)",
            "select nextval(name)",
            "select setval('s' || a, 3)",
            "analyze",
            "vacuum full",
            "analyze;",
            "reindex database d",
            "drop table U&\"\\0061\"",
            "select setval(E'\\x61', 1)",
            "create function f() returns void language plpython3u as $$ x $$",
            "create function f() returns void as 'a', 'b' language 'c'",
            "alter foreign data wrapper w owner to x",
            "import foreign schema s from server x into y",
            "select query_to_xml(q, true, true, '')",
            "select has_table_privilege(name, 'select')",
        ] {
            assert!(Words::of(sql).beyond_names().is_some(), "{sql}");
        }
    }

    #[test]
    fn what_names_all_is_told_from_it() {
        for sql in [
            "alter table a add column b int default 5",
            "create trigger x before update on a for each row execute function touch()",
            "grant execute on function f() to app",
            "select setval(pg_get_serial_sequence('a', 'id'), 5)",
            "alter table a alter id set default nextval('a_id_seq'::regclass)",
            "select setval('a_id_seq', (select max(id) from a))",
            "do $$ begin execute 'drop table a'; end $$",
            "analyze a",
            "reindex table a",
            "create function f() returns int language sql as $$ select 1 $$",
            "create function f() returns int language 'plpgsql' as $$ begin end $$",
            "create table a (language text)",
            "alter table a owner to b; alter sequence s owned by a.id",
            "create foreign table f (a int) server s",
            "alter foreign table f add b int",
            "alter default privileges in schema public grant select on tables to app",
            "select pg_catalog.now(), pg_advisory_xact_lock(1)",
            "update a set b = '\\d' where c ~ '^x'",
            "create schema s",
            "explain analyze select 1",
        ] {
            assert_eq!(Words::of(sql).beyond_names(), None, "{sql}");
        }
    }

    #[test]
    fn names_are_found_wherever_they_stand() {
        let words =
            Words::of("insert into \"Odd Name\"(x) select 'ORDERS', $a$t1$a$ from ünï.\"a$b\"");
        for name in ["insert", "orders", "t1", "ünï"] {
            assert!(words.all().contains(name), "{name}");
        }
        assert!(words.may_name("Odd Name") && words.may_name("a$b") && words.may_name("!"));
        assert!(!words.may_name("Odd Table") && !words.all().contains("t"));
        let long = "x".repeat(80);
        assert!(Words::of(&long).all().contains(&"x".repeat(63)));
    }

    #[test]
    fn what_others_rest_on_is_changed_or_only_used() {
        assert!(Words::of("alter type mood rename to state").strikes());
        assert!(Words::of("DROP function if exists f() cascade").strikes());
        assert!(!Words::of("alter table a alter b type mood").strikes());
        assert!(!Words::of("create or replace function f() returns int").strikes());
        assert!(
            Words::of("truncate a cascade").truncates() && !Words::of("truncate a").truncates()
        );
    }
}
