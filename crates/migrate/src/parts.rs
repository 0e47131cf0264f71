//! Sending a large script in parts, so that not all of it lies in memory a second time while it is sent. Pure.

use std::ops::Range;

use crate::files::Script;

/// How long a part is about, in bytes. A script that is no longer goes as the one text that it is.
const PART: usize = 1024 * 1024;
/// Words that change how the text after them is read: the server reads a text whole before it runs any of it.
pub(crate) const LEXING: [&str; 3] =
    ["standard_conforming_strings", "client_encoding", "backslash_quote"];

/// The parts of a script, each of whole statements, that together are all of it.
pub(crate) fn parts(script: &Script) -> Vec<Range<usize>> {
    let end = script.sql.len();
    if end <= PART || changes_reading(&script.sql) {
        return std::iter::once(0..end).collect();
    }
    let mut parts = Vec::new();
    let mut begin = 0;
    for statement in &script.statements {
        if statement.range.start - begin >= PART {
            parts.push(begin..statement.range.start);
            begin = statement.range.start;
        }
    }
    parts.push(begin..end);
    parts
}

/// Whether one of [`LEXING`] stands in it. The transaction is open meanwhile, so this is to be quick: only where an underscore
/// stands can one of them be.
fn changes_reading(sql: &str) -> bool {
    let stands = |at: usize, word: &&str| {
        let begin = word.find('_').and_then(|before| at.checked_sub(before));
        let text = begin.and_then(|begin| sql.as_bytes().get(begin..begin + word.len()));
        text.is_some_and(|text| text.eq_ignore_ascii_case(word.as_bytes()))
    };
    sql.match_indices('_').any(|(at, _)| LEXING.iter().any(|word| stands(at, word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(sql: String) -> Script {
        Script::kept("V0001__x.sql".into(), sql)
    }

    #[test]
    fn parts_are_of_whole_statements_and_together_all_of_it() {
        let statement = format!("select 'a;b{}';\n", "x".repeat(100_000));
        let script_of = |head: &str| script(format!("{head}{}", statement.repeat(60)));
        let long = script_of("-- first\n");
        let parts = parts(&long);
        assert!(
            parts.len() > 1 && parts.iter().all(|part| part.len() <= PART + statement.len()),
            "{parts:?}"
        );
        let texts: String = parts.iter().map(|part| &long.sql[part.clone()]).collect();
        assert!(texts == long.sql, "nothing is lost");
        assert!(parts[1..].iter().all(|part| long.sql[part.start..].starts_with("select 'a;b")));
        let reads_on = script_of("set Standard_Conforming_Strings = off;\n");
        assert_eq!(super::parts(&reads_on).len(), 1, "how it is read may change on the way");
        assert_eq!(super::parts(&script("select 1; select 2".into())).len(), 1);
    }
}
