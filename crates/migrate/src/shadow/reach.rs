//! What a script may do beyond its own database: roles, databases, table spaces and the server's settings are shared by all of a
//! server's databases. A copy on the same server would not keep that apart. Pure.

/// Words that, one after the other, begin something that the whole server shares.
const SHARED: [(&[&str], &[&str]); 5] = [
    (
        &["create", "alter", "drop", "comment on", "security label on"],
        &["role", "user", "group", "database", "tablespace", "subscription"],
    ),
    (&["on"], &["database", "tablespace"]),
    (&["alter"], &["system"]),
    (&["reassign", "drop"], &["owned"]),
    (&["to"], &["program"]),
];

/// The first thing in `sql` that may reach beyond the database; also in strings and bodies, since these may be run, but not
/// in comments.
pub(crate) fn beyond_database(sql: &str) -> Option<String> {
    let words = words(sql);
    for (index, pair) in words.windows(2).enumerate() {
        let (first, second) = (pair[0].as_str(), pair[1].as_str());
        for (firsts, seconds) in SHARED {
            let begins = firsts.iter().any(|wanted| {
                let mut wanted: Vec<&str> = wanted.split(' ').collect();
                let last = wanted.pop();
                last == Some(first)
                    && wanted.iter().rev().enumerate().all(|(back, word)| {
                        index.checked_sub(back + 1).is_some_and(|at| words[at] == *word)
                    })
            });
            if begins && seconds.contains(&second) && !is_mapping(&words[index..]) {
                return Some(format!("{first} {second}"));
            }
        }
    }
    grants_a_role(sql).then(|| "grant of a role".to_owned())
}

/// `create user mapping for …` belongs to the database.
fn is_mapping(words: &[String]) -> bool {
    words.get(1).map(String::as_str) == Some("user")
        && words.get(2).map(String::as_str) == Some("mapping")
}

/// `grant a to b` and `revoke a from b`: without `on`, it is about roles.
fn grants_a_role(sql: &str) -> bool {
    let plain = without_comments(sql);
    plain.split(';').any(|part| {
        let words = words(part);
        let Some(grant) = words.iter().rposition(|word| word == "grant" || word == "revoke") else {
            return false;
        };
        let rest = &words[grant..];
        let to = rest.iter().position(|word| word == "to" || word == "from");
        to.is_some_and(|to| !rest[..to].iter().any(|word| word == "on"))
    })
}

fn words(sql: &str) -> Vec<String> {
    let plain = without_comments(sql);
    let words = plain.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// Comments to the end of a line are left out; a `--` in a string only leaves out more.
fn without_comments(sql: &str) -> String {
    sql.lines()
        .map(|line| line.find("--").map_or(line, |at| &line[..at]))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_shares_is_found() {
        for sql in [
            "create role app",
            "do $$ begin if not exists (select) then CREATE  USER app; end if; end $$",
            "select 1; alter system set work_mem = '1GB'",
            "alter database shop set timezone = 'UTC'",
            "grant connect on database shop to app",
            "grant admins to app",
            "revoke admins from app",
            "drop owned by app",
            "comment on role app is 'x'",
            "create tablespace fast location '/x'",
            "copy t to program 'rm'",
        ] {
            assert!(beyond_database(sql).is_some(), "{sql}");
        }
    }

    #[test]
    fn what_stays_in_the_database_is_left_alone() {
        for sql in [
            "create table users (id int)",
            "create table \"user\" (role text)",
            "-- create role app\nselect 1",
            "grant select on users to app; alter table users owner to app",
            "revoke all on schema public from public",
            "create user mapping for app server s",
            "alter table t add column role text",
            "alter default privileges in schema public grant select on tables to app",
            "comment on table users is 'the users'",
        ] {
            assert_eq!(beyond_database(sql), None, "{sql}");
        }
    }
}
