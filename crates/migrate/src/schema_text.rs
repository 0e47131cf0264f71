//! A schema as text that can be compared.

use similar::TextDiff;

/// What `pg_dump --schema-only` writes, without what says nothing of the schema: comments, settings of the session, and the
/// random keys of newer versions.
pub(crate) fn normalise(dump: &str) -> String {
    let noise = ["--", "SET ", "SELECT pg_catalog.set_config", "\\restrict", "\\unrestrict"];
    let kept = dump
        .lines()
        .filter(|line| !line.is_empty() && !noise.iter().any(|noise| line.starts_with(noise)));
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// The unified difference of two schemas; empty if there is none.
pub(crate) fn difference(before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    TextDiff::from_lines(before, after).unified_diff().context_radius(2).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_something_is_compared() {
        let old = "--\n-- PostgreSQL database dump\n--\n\\restrict abc\nSET a = b;\n\nCREATE TABLE t (\n    id integer\n);\n";
        let new = old.replace("abc", "xyz");
        assert_eq!(normalise(old), "CREATE TABLE t (\n    id integer\n);\n");
        assert_eq!(difference(&normalise(old), &normalise(&new)), "");
        let wider = normalise(&new.replace("integer", "bigint"));
        let difference = difference(&normalise(old), &wider);
        assert!(difference.contains("-    id integer\n+    id bigint\n"), "{difference}");
    }
}
