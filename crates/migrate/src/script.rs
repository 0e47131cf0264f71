//! A migration's SQL text: its words, far enough to tell statements apart and to refuse those that would end the
//! migration's own transaction. PostgreSQL itself is the judge of everything else.

use std::iter::Peekable;
use std::str::Chars;

/// What a look at a script shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Inspection {
    /// How many statements there are.
    pub(crate) statements: usize,
    /// What cannot run, with its line (the first is 1).
    pub(crate) problems: Vec<(usize, String)>,
}

/// Looks at a script.
pub(crate) fn inspect(sql: &str) -> Inspection {
    let mut lexer = Lexer { chars: sql.chars().peekable(), line: 1, start: 1 };
    let mut inspection = Inspection::default();
    let mut statement = Statement::default();
    loop {
        let token = lexer.token();
        let line = lexer.start;
        match token {
            Ok(Some(Token::Semicolon)) if !statement.in_body() => {
                inspection.add(std::mem::take(&mut statement));
            }
            Ok(Some(token)) => statement.push(token, line),
            Ok(None) => break,
            Err(what) => {
                inspection.problems.push((line, format!("a {what} begins here that never ends")));
                break;
            }
        }
    }
    inspection.add(statement);
    inspection
}

impl Inspection {
    fn add(&mut self, statement: Statement) {
        if statement.tokens.is_empty() {
            return;
        }
        self.statements += 1;
        if let Some(problem) = statement.problem() {
            self.problems.push((statement.line, problem));
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// An unquoted word, in lower case.
    Word(String),
    Semicolon,
    Sign(char),
    /// A string or a quoted name: its content cannot be a keyword.
    Quoted,
}

#[derive(Debug, Default)]
struct Statement {
    line: usize,
    tokens: Vec<Token>,
    /// How many `begin atomic` and `case` of a function's SQL body are open (PostgreSQL 14: semicolons within it do not end the
    /// statement).
    open: usize,
}

impl Statement {
    fn push(&mut self, token: Token, line: usize) {
        if self.tokens.is_empty() {
            self.line = line;
        }
        let after_begin = self.tokens.last() == Some(&Token::Word("begin".into()));
        match &token {
            Token::Word(word) if word == "atomic" && after_begin && self.tokens.len() > 1 => {
                self.open = 1
            }
            Token::Word(word) if word == "case" && self.in_body() => self.open += 1,
            Token::Word(word) if word == "end" && self.in_body() => self.open -= 1,
            _ => {}
        }
        self.tokens.push(token);
    }

    fn in_body(&self) -> bool {
        self.open > 0
    }

    fn word(&self, index: usize) -> &str {
        match self.tokens.get(index) {
            Some(Token::Word(word)) => word,
            _ => "",
        }
    }

    fn has(&self, first: &str, second: &str) -> bool {
        self.tokens.windows(2).any(|pair| {
            matches!(pair, [Token::Word(one), Token::Word(two)] if one == first && two == second)
        })
    }

    fn problem(&self) -> Option<String> {
        let first = self.word(0);
        let second = self.word(1);
        let ends_transaction = match first {
            "begin" | "commit" | "end" | "abort" => true,
            "start" | "prepare" => second == "transaction",
            "rollback" => {
                let after =
                    if matches!(second, "work" | "transaction") { self.word(2) } else { second };
                after != "to"
            }
            _ => false,
        };
        if ends_transaction {
            return Some(format!(
                "`{}` is not allowed: each migration runs in one transaction that Liftlock begins and ends",
                format!("{first} {second}").trim().to_uppercase()
            ));
        }
        if first == "copy" && (self.has("from", "stdin") || self.has("to", "stdout")) {
            return Some("`COPY` cannot read or write the client's data here: use `INSERT`".into());
        }
        (self.tokens.first() == Some(&Token::Sign('\\')))
            .then(|| "commands of psql (`\\…`) are not SQL and cannot run here".into())
    }
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
    /// Where the latest token or comment begins.
    start: usize,
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    fn next_is(&mut self, wanted: char) -> bool {
        self.chars.peek() == Some(&wanted)
    }

    /// The next token; an error names what never ends.
    fn token(&mut self) -> Result<Option<Token>, &'static str> {
        while let Some(c) = self.next() {
            self.start = self.line;
            match c {
                c if c.is_whitespace() => {}
                '-' if self.next_is('-') => self.skip_line(),
                '/' if self.next_is('*') => self.skip_comment()?,
                ';' => return Ok(Some(Token::Semicolon)),
                '\'' => return self.quoted('\'', false).map(Some),
                '"' => return self.quoted('"', false).map(Some),
                '$' => return self.dollar().map(Some),
                c if is_word_start(c) => return self.word(c).map(Some),
                c => return Ok(Some(Token::Sign(c))),
            }
        }
        Ok(None)
    }

    fn skip_line(&mut self) {
        while let Some(c) = self.next() {
            if c == '\n' {
                break;
            }
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

    fn quoted(&mut self, quote: char, backslash: bool) -> Result<Token, &'static str> {
        let what = if quote == '"' { "quoted name" } else { "string" };
        loop {
            match self.next().ok_or(what)? {
                '\\' if backslash => {
                    self.next();
                }
                c if c == quote && self.next_is(quote) => {
                    self.next();
                }
                c if c == quote => return Ok(Token::Quoted),
                _ => {}
            }
        }
    }

    /// `$1`, `$$…$$` or `$tag$…$tag$`.
    fn dollar(&mut self) -> Result<Token, &'static str> {
        let mut tag = String::new();
        while let Some(c) = self.chars.peek().copied().filter(|c| is_word_part(*c) && *c != '$') {
            tag.push(c);
            self.next();
        }
        if !self.next_is('$') || tag.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Token::Sign('$'));
        }
        self.next();
        let end = format!("${tag}$");
        let mut seen = String::new();
        while !seen.ends_with(&end) {
            seen.push(self.next().ok_or("dollar-quoted string")?);
        }
        Ok(Token::Quoted)
    }

    fn word(&mut self, first: char) -> Result<Token, &'static str> {
        if matches!(first, 'e' | 'E') && self.next_is('\'') {
            self.next();
            return self.quoted('\'', true);
        }
        let mut word = first.to_string();
        while let Some(c) = self.chars.peek().copied().filter(|c| is_word_part(*c)) {
            word.push(c);
            self.next();
        }
        Ok(Token::Word(word.to_lowercase()))
    }
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_word_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

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
        assert_eq!(inspect("-- nothing\n /* at all */ ;;").statements, 0);
        assert_eq!(inspect("select 1; select ';'; select $$;$$").statements, 3);
        let body = "create function f() returns int begin atomic select 1; select 2; end; select 3";
        assert_eq!(inspect(body).statements, 2);
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
