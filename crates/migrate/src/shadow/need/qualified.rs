//! Which objects a statement of `pg_dump`'s names: all with their schemas, but those in strings and bodies. Pure.

/// The names in a statement that stand behind a schema's: `public.orders`, quoted or not; of `a.b.c`, `a.b`.
pub(super) fn qualified(sql: &str) -> Vec<(String, String)> {
    let mut scan = Scan { sql, at: 0 };
    let mut found = Vec::new();
    let mut chain: Vec<String> = Vec::new();
    let mut goes_on = false;
    loop {
        match scan.piece() {
            Piece::Name(name) => {
                if !goes_on {
                    keep(&mut chain, &mut found);
                }
                chain.push(name);
                goes_on = false;
            }
            Piece::Dot => goes_on = !chain.is_empty(),
            other => {
                keep(&mut chain, &mut found);
                goes_on = false;
                if other == Piece::End {
                    return found;
                }
            }
        }
    }
}

fn keep(chain: &mut Vec<String>, found: &mut Vec<(String, String)>) {
    let mut names = chain.drain(..);
    if let Some(pair) = names.next().zip(names.next()) {
        found.push(pair);
    }
}

#[derive(PartialEq, Eq)]
enum Piece {
    Name(String),
    Dot,
    Other,
    End,
}

struct Scan<'a> {
    sql: &'a str,
    at: usize,
}

impl Scan<'_> {
    fn piece(&mut self) -> Piece {
        let rest = &self.sql[self.at..];
        let Some(c) = rest.chars().next() else { return Piece::End };
        match c {
            '"' => return Piece::Name(self.quoted_name()),
            '\'' => self.skip_string(false),
            '-' if rest.starts_with("--") => self.skip_to("\n", 2),
            '$' => self.skip_body(),
            'E' if rest.starts_with("E'") => {
                self.at += 1;
                self.skip_string(true);
            }
            c if begins_word(c) => {
                let end = rest.find(|c| !(begins_word(c) || c.is_ascii_digit() || c == '$'));
                let word = &rest[..end.unwrap_or(rest.len())];
                self.at += word.len();
                return Piece::Name(word.to_owned());
            }
            c => {
                self.at += c.len_utf8();
                if c == '.' {
                    return Piece::Dot;
                }
            }
        }
        Piece::Other
    }

    fn quoted_name(&mut self) -> String {
        let rest = &self.sql[self.at + 1..];
        let mut name = String::new();
        let mut chars = rest.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                    chars.next();
                    name.push('"');
                }
                '"' => {
                    self.at += at + 2;
                    return name;
                }
                c => name.push(c),
            }
        }
        self.at = self.sql.len();
        name
    }

    fn skip_string(&mut self, escapes: bool) {
        let rest = &self.sql[self.at + 1..];
        let mut chars = rest.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            if c == '\\' && escapes || c == '\'' && next == Some('\'') {
                chars.next();
            } else if c == '\'' {
                self.at += at + 2;
                return;
            }
        }
        self.at = self.sql.len();
    }

    /// `$$…$$`, `$tag$…$tag$`, or a sign alone.
    fn skip_body(&mut self) {
        let rest = &self.sql[self.at + 1..];
        let tag = rest.find(|c: char| !(begins_word(c) || c.is_ascii_digit()));
        match tag.filter(|tag| rest[*tag..].starts_with('$')) {
            Some(tag) => {
                let fence = self.sql[self.at..=self.at + 1 + tag].to_owned();
                self.skip_to(&fence, fence.len());
            }
            None => self.at += 1,
        }
    }

    /// Up to and with the next `mark`, from `after` on.
    fn skip_to(&mut self, mark: &str, after: usize) {
        let found = self.sql[self.at + after..].find(mark);
        self.at = found.map_or(self.sql.len(), |found| self.at + after + found + mark.len());
    }
}

fn begins_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sql: &str) -> Vec<String> {
        qualified(sql).iter().map(|(schema, name)| format!("{schema}|{name}")).collect()
    }

    #[test]
    fn names_behind_a_schema_are_found_and_what_is_quoted_is_not() {
        assert_eq!(
            found(
                "ALTER TABLE ONLY public.t1 ADD CONSTRAINT x FOREIGN KEY (y) REFERENCES \"Odd \"\"s\".\"a.b\"(id)"
            ),
            ["public|t1", "Odd \"s|a.b"]
        );
        assert_eq!(found("COMMENT ON COLUMN a.b.c IS 'x.y''z.z'"), ["a|b"]);
        assert_eq!(
            found("CREATE FUNCTION a.f() RETURNS a.t AS $x$ b.c $$ $x$; b.d"),
            ["a|f", "a|t", "b|d"]
        );
        assert_eq!(found("SELECT 1.5, E'\\' a.b', x FROM a.ü WHERE -- b.c\nt.x"), ["a|ü", "t|x"]);
        assert_eq!(found("SELECT 'never a.b"), Vec::<String>::new());
        assert_eq!(found("$1 $ a.b $never$ a.c"), ["a|b"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_looked_at_without_a_panic(text in "\\PC*") {
            qualified(&text);
        }
    }
}
