//! Statements that are run over one connection again and again: to parse and plan a look at the catalogs takes PostgreSQL several times
//! as long as the look itself, and it does that once for a prepared statement.

use std::collections::HashMap;

use sqlx::error::DatabaseError;

/// What PostgreSQL says of a prepared statement that is not there: `DEALLOCATE ALL` and `DISCARD ALL` drop those of others, too.
const NOT_THERE: &str = "26000";

/// The statements that one session has prepared, in SQL, which a message of many statements can hold.
#[derive(Debug, Default)]
pub(crate) struct Repeated {
    names: HashMap<String, String>,
    /// How many have been named so far. No name is used twice.
    count: usize,
}

impl Repeated {
    /// The SQL that runs `statement`, which has to be sent: it may be what prepares it. Where it has the parameter `$1`, that has the type and the value that are given, both in SQL.
    pub(crate) fn run(&mut self, statement: &str, (kind, value): (&str, &str)) -> String {
        let (kind, value) = match statement.contains("$1") {
            true => (format!(" ({kind})"), format!(" ({value})")),
            false => (String::new(), String::new()),
        };
        if let Some(name) = self.names.get(statement) {
            return format!("execute {name}{value};\n");
        }
        self.count += 1;
        let name = format!("liftlock_look_{}", self.count);
        let sql = format!("prepare {name}{kind} as {statement};\nexecute {name}{value};\n");
        self.names.insert(statement.to_owned(), name);
        sql
    }

    /// After an error: nobody knows how far the message came. Whether what was prepared before it is gone.
    pub(crate) fn forget(&mut self, error: &sqlx::Error) -> bool {
        let had = !self.names.is_empty();
        self.names.clear();
        let code = error.as_database_error().and_then(DatabaseError::code);
        had && code.is_some_and(|code| code == NOT_THERE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_prepared_once() {
        let mut repeated = Repeated::default();
        let of = ("xid", "'3'");
        let first =
            "prepare liftlock_look_1 (xid) as select age($1);\nexecute liftlock_look_1 ('3');\n";
        assert_eq!(repeated.run("select age($1)", of), first);
        assert_eq!(repeated.run("select age($1)", of), "execute liftlock_look_1 ('3');\n");
        let without = "prepare liftlock_look_2 as select 1;\nexecute liftlock_look_2;\n";
        assert_eq!(repeated.run("select 1", of), without);
        assert!(!repeated.forget(&sqlx::Error::RowNotFound));
        let again = "prepare liftlock_look_3 as select 1;\nexecute liftlock_look_3;\n";
        assert_eq!(repeated.run("select 1", of), again, "the old name may be taken");
    }
}
