//! A migration's SQL text: its words, far enough to tell statements apart and to refuse those that would end the
//! migration's own transaction. PostgreSQL itself is the judge of everything else.

use std::collections::HashSet;
use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;
use std::sync::Arc;

/// What a look at a script shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Inspection {
    /// Its statements, in order.
    pub(crate) statements: Vec<Statement>,
    /// Its comments that speak to us, in order.
    pub(crate) remarks: Vec<Remark>,
    /// What cannot run, with its line (the first is 1).
    pub(crate) problems: Vec<(usize, String)>,
}

/// A statement's place in its script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Its bytes, without its semicolon, and without comments before and after it.
    pub(crate) range: Range<usize>,
    /// The line that it begins on. The first line is 1.
    pub(crate) line: usize,
    /// Its first words in lower case, up to [`OPENING`]; strings, quoted names and signs are left out. A million statements
    /// may begin alike, and share it.
    pub(crate) opening: Arc<str>,
}

/// How many words of a statement are kept.
const OPENING: usize = 16;

/// A comment to the end of its line that begins with [`MARK`], without that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) line: usize,
    /// Where it stands, in bytes: before the statement that it is about.
    pub(crate) offset: usize,
    pub(crate) text: String,
}

/// How a comment begins that speaks to us: `-- migrate: no-transaction`.
const MARK: &str = "migrate:";

/// Looks at a script.
pub(crate) fn inspect(sql: &str) -> Inspection {
    let chars = sql.char_indices().peekable();
    let mut lexer = Lexer { sql, chars, line: 1, start: 1, begin: 0, remarks: Vec::new() };
    let mut inspection = Inspection::default();
    let mut openings = HashSet::new();
    let mut draft = Draft::default();
    loop {
        let token = lexer.token();
        let line = lexer.start;
        match token {
            Ok(Some(Token::Semicolon)) if !draft.in_body() => {
                inspection.add(std::mem::take(&mut draft), &mut openings);
            }
            Ok(Some(token)) => draft.push(token, line, lexer.begin..lexer.offset()),
            Ok(None) => break,
            Err(what) => {
                inspection.problems.push((line, format!("a {what} begins here that never ends")));
                break;
            }
        }
    }
    inspection.add(draft, &mut openings);
    inspection.remarks = lexer.remarks;
    inspection
}

impl Inspection {
    fn add(&mut self, draft: Draft<'_>, openings: &mut HashSet<Arc<str>>) {
        let Some(first) = draft.head.first() else { return };
        if let Some(problem) = draft.problem(*first) {
            self.problems.push((draft.line, problem));
        }
        let words: Vec<String> = draft.words.iter().map(|word| word.to_lowercase()).collect();
        let opening = words.join(" ");
        let opening = match openings.get(opening.as_str()) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<str> = opening.into();
                openings.insert(new.clone());
                new
            }
        };
        self.statements.push(Statement { range: draft.range, line: draft.line, opening });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// An unquoted word, as it is written.
    Word(&'a str),
    Semicolon,
    Sign(char),
    /// A string or a quoted name: its content cannot be a keyword.
    Quoted,
}

impl Token<'_> {
    fn is(self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// How many of a statement's first tokens say whether it ends the transaction.
const HEAD: usize = 3;

/// A statement as far as it has been read. One statement may be all of a large file: only what is needed of it is kept.
#[derive(Debug, Default)]
struct Draft<'a> {
    line: usize,
    range: Range<usize>,
    /// Its first tokens.
    head: Vec<Token<'a>>,
    last: Option<Token<'a>>,
    words: Vec<&'a str>,
    /// Whether it reads or writes what a client sends or gets.
    of_client: bool,
    /// How many `begin atomic` and `case` of a function's SQL body are open (PostgreSQL 14: semicolons within it do not end the
    /// statement).
    open: usize,
    /// How many parentheses are open: semicolons within them (`create rule … do also (…; …)`) do not end the statement.
    parentheses: usize,
}

impl<'a> Draft<'a> {
    fn push(&mut self, token: Token<'a>, line: usize, range: Range<usize>) {
        if self.head.is_empty() {
            self.line = line;
            self.range = range;
        } else {
            self.range.end = range.end;
        }
        let after = |keyword| self.last.is_some_and(|last| last.is(keyword));
        self.of_client |= after("from") && token.is("stdin") || after("to") && token.is("stdout");
        if token.is("atomic") && after("begin") && self.head.len() > 1 {
            self.open = 1;
        } else if self.open > 0 && token.is("case") {
            self.open += 1;
        } else if self.open > 0 && token.is("end") {
            self.open -= 1;
        } else if token == Token::Sign('(') {
            self.parentheses += 1;
        } else if token == Token::Sign(')') {
            self.parentheses = self.parentheses.saturating_sub(1);
        }
        if self.head.len() < HEAD {
            self.head.push(token);
        }
        if let Token::Word(word) = token
            && self.words.len() < OPENING
        {
            self.words.push(word);
        }
        self.last = Some(token);
    }

    fn in_body(&self) -> bool {
        self.open > 0 || self.parentheses > 0
    }

    /// A word of the head, in lower case.
    fn word(&self, index: usize) -> String {
        match self.head.get(index) {
            Some(Token::Word(word)) => word.to_ascii_lowercase(),
            _ => String::new(),
        }
    }

    fn problem(&self, begin: Token<'_>) -> Option<String> {
        let (first, second) = (self.word(0), self.word(1));
        let ends_transaction = match first.as_str() {
            "begin" | "commit" | "end" | "abort" => true,
            "start" | "prepare" => second == "transaction",
            "rollback" => {
                let noise = matches!(second.as_str(), "work" | "transaction");
                self.word(if noise { 2 } else { 1 }) != "to"
            }
            _ => false,
        };
        if ends_transaction {
            return Some(format!(
                "`{}` is not allowed: each migration runs in one transaction that Liftlock begins and ends",
                format!("{first} {second}").trim().to_uppercase()
            ));
        }
        if first == "copy" && self.of_client {
            return Some("`COPY` cannot read or write the client's data here: use `INSERT`".into());
        }
        (begin == Token::Sign('\\'))
            .then(|| "commands of psql (`\\…`) are not SQL and cannot run here".into())
    }
}

struct Lexer<'a> {
    sql: &'a str,
    chars: Peekable<CharIndices<'a>>,
    line: usize,
    /// The line that the latest token or comment begins on.
    start: usize,
    /// The byte that it begins with.
    begin: usize,
    remarks: Vec<Remark>,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Option<char> {
        let (_, next) = self.chars.next()?;
        if next == '\n' {
            self.line += 1;
        }
        Some(next)
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn next_is(&mut self, wanted: char) -> bool {
        self.peek() == Some(wanted)
    }

    /// The byte that comes next.
    fn offset(&mut self) -> usize {
        self.chars.peek().map_or(self.sql.len(), |(offset, _)| *offset)
    }

    /// The next token; an error names what never ends.
    fn token(&mut self) -> Result<Option<Token<'a>>, &'static str> {
        loop {
            let begin = self.offset();
            let Some(c) = self.next() else { return Ok(None) };
            (self.start, self.begin) = (self.line, begin);
            match c {
                c if is_space(c) => {}
                '-' if self.next_is('-') => self.line_comment(),
                '/' if self.next_is('*') => self.skip_comment()?,
                ';' => return Ok(Some(Token::Semicolon)),
                '\'' => return self.quoted('\'', false).map(Some),
                '"' => return self.quoted('"', false).map(Some),
                '$' => return self.dollar().map(Some),
                c if is_word_start(c) => return self.word(c).map(Some),
                c => return Ok(Some(Token::Sign(c))),
            }
        }
    }

    /// A comment up to the end of its line; kept if it speaks to us.
    fn line_comment(&mut self) {
        let (line, offset) = (self.line, self.begin);
        // For PostgreSQL a carriage return alone ends a comment, too.
        while let Some(c) = self.next() {
            if matches!(c, '\n' | '\r') {
                break;
            }
        }
        let end = self.offset();
        let comment = self.sql[offset..end].trim_start_matches('-').trim();
        if let Some(text) = comment.strip_prefix(MARK) {
            self.remarks.push(Remark { line, offset, text: text.trim().to_owned() });
        }
    }

    /// Comments nest in PostgreSQL.
    fn skip_comment(&mut self) -> Result<(), &'static str> {
        let mut open = 1;
        self.next();
        while open > 0 {
            match self.next().ok_or("comment")? {
                '/' if self.next_is('*') => {
                    self.next();
                    open += 1;
                }
                '*' if self.next_is('/') => {
                    self.next();
                    open -= 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn quoted(&mut self, quote: char, backslash: bool) -> Result<Token<'a>, &'static str> {
        let what = if quote == '"' { "quoted name" } else { "string" };
        loop {
            match self.next().ok_or(what)? {
                '\\' if backslash => {
                    self.next();
                }
                c if c == quote && self.next_is(quote) => {
                    self.next();
                }
                c if c == quote && !(backslash && self.continued()) => return Ok(Token::Quoted),
                _ => {}
            }
        }
    }

    /// Whether the string that has just ended goes on: two strings with a line break between them are one, and the second has
    /// the escapes of the first. Reads up to its content if so.
    fn continued(&mut self) -> bool {
        let rest = &self.sql[self.offset()..];
        let mut breaks = false;
        let mut after = rest;
        loop {
            let blank = after.trim_start_matches(is_space);
            breaks |= after[..after.len() - blank.len()].contains(['\n', '\r']);
            after = blank;
            let Some(comment) = after.strip_prefix("--") else { break };
            after = comment.trim_start_matches(|c| !matches!(c, '\n' | '\r'));
        }
        let goes_on = breaks && after.starts_with('\'');
        if goes_on {
            let upto = self.sql.len() - after.len() + 1;
            while self.offset() < upto {
                self.next();
            }
        }
        goes_on
    }

    /// `$1`, `$$…$$` or `$tag$…$tag$`.
    fn dollar(&mut self) -> Result<Token<'a>, &'static str> {
        let mut tag = String::new();
        while let Some(c) = self.peek().filter(|c| is_word_part(*c) && *c != '$') {
            tag.push(c);
            self.next();
        }
        if !self.next_is('$') || tag.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Token::Sign('$'));
        }
        self.next();
        let end = format!("${tag}$");
        let from = self.offset();
        while self.sql.get(from..self.offset()).is_none_or(|seen| !seen.ends_with(&end)) {
            self.next().ok_or("dollar-quoted string")?;
        }
        Ok(Token::Quoted)
    }

    fn word(&mut self, first: char) -> Result<Token<'a>, &'static str> {
        if matches!(first, 'e' | 'E') && self.next_is('\'') {
            self.next();
            return self.quoted('\'', true);
        }
        let begin = self.begin;
        while self.peek().is_some_and(is_word_part) {
            self.next();
        }
        Ok(Token::Word(&self.sql[begin..self.offset()]))
    }
}

/// PostgreSQL knows no other white space: a no-break space is a letter to it.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

/// To PostgreSQL every character beyond ASCII is a letter: in `€$$` no string begins.
fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn is_word_part(c: char) -> bool {
    is_word_start(c) || c.is_ascii_digit() || c == '$'
}

#[cfg(test)]
mod oracle;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(sql: &str) -> Vec<usize> {
        inspect(sql).problems.into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn statements_that_end_the_transaction_are_found() {
        for bad in [
            "BEGIN",
            "begin; select 1",
            "start transaction",
            "commit work;",
            "END;",
            "abort",
            "rollback",
            "rollback work",
            "prepare transaction 'x'",
            "commit prepared 'x'",
            "/* /* nested */ */ -- commit\n commit",
            "select 1;;commit and chain",
            "select 1; -- one\rcommit",
            "select 1 as €$$; commit; select 1 as x$$",
            "select E'a'\n  '\\'; select '; commit; --'",
        ] {
            assert_eq!(inspect(bad).problems.len(), 1, "{bad}");
        }
        assert_eq!(lines("select 1;\n-- why\ncommit;\ncreate table t ();\nrollback;"), [3, 5]);
    }

    #[test]
    fn the_same_words_elsewhere_are_no_harm() {
        for good in [
            "rollback to savepoint before",
            "rollback transaction to before",
            "savepoint a; release a",
            "select 'x; commit; y', E'it\\'s; commit', \"commit\"",
            "do $$ begin perform 1; end $$",
            "create function f() returns int language plpgsql as $body$ begin return 1; end; $body$",
            "create function f() returns int begin atomic select case when true then 1 end; end; select 1",
            "prepare q as select $1; execute q(1)",
            "insert into t values (1) -- commit;\n",
            "start_something()",
            "copy t from '/tmp/x'",
            "comment on table t is 'ends; commit'",
        ] {
            assert_eq!(inspect(good).problems, [], "{good}");
        }
    }

    #[test]
    fn statements_are_counted() {
        assert_eq!(inspect("-- nothing\n /* at all */ ;;").statements, []);
        assert_eq!(inspect("select 1; select ';'; select $$;$$").statements.len(), 3);
        let rule =
            "create rule r as on insert to t do also (notify a; select (1); notify b); select 3";
        assert_eq!(inspect(rule).statements.len(), 2);
        let body = "create function f() returns int begin atomic select 1; select 2; end; select 3";
        assert_eq!(inspect(body).statements.len(), 2);
    }

    #[test]
    fn statements_have_their_places() {
        let sql = "-- ü\nselect 'ü;' as a -- one\n;\n\n/* x */ create\tUNIQUE index concurrently \"i\" on t (a);";
        let statements = inspect(sql).statements;
        let texts: Vec<&str> = statements.iter().map(|one| &sql[one.range.clone()]).collect();
        assert_eq!(texts, ["select 'ü;' as a", "create\tUNIQUE index concurrently \"i\" on t (a)"]);
        assert_eq!(statements.iter().map(|one| one.line).collect::<Vec<_>>(), [2, 5]);
        assert_eq!(&*statements[1].opening, "create unique index concurrently on t a");
    }

    #[test]
    fn comments_that_speak_to_us_are_found_and_others_are_not() {
        let sql = "-- migrate: no-transaction\r\nselect '\n-- migrate: no\n', $$\n-- migrate: no$$; --migrate:  last  ";
        let remarks = inspect(sql).remarks;
        let found: Vec<_> = remarks.iter().map(|one| (one.line, one.text.as_str())).collect();
        assert_eq!(found, [(1, "no-transaction"), (5, "last")]);
        assert_eq!(inspect("/* -- migrate: no */ -- migrated: no\nselect 1").remarks, []);
    }

    #[test]
    fn what_the_protocol_cannot_do_is_found() {
        assert_eq!(lines("copy t (a) from stdin;"), [1]);
        assert_eq!(lines("\\connect other"), [1]);
        assert_eq!(lines("select 1;\nselect 'never"), [2]);
        assert_eq!(lines("do $x$ begin"), [1]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_looked_at_without_a_panic(text in "\\PC*") {
            inspect(&text);
        }
    }
}
