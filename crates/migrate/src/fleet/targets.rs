//! Which databases a fleet has, and where they come from.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, Column as _, Row as _};
use url::Url;

use crate::connect::ConnectError;
use crate::database::Database;
use crate::failure::reason;
use crate::settings::Settings;

/// One database of a fleet.
#[derive(Debug, Clone)]
pub struct FleetTarget {
    /// What people call it; no two have the same.
    pub name: String,
    /// Where it is.
    pub url: SecretString,
}

/// Why a fleet cannot be gone through. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// There is nothing to do it to.
    #[error("the fleet has no database: {origin} gives none")]
    Empty {
        /// Where they should have come from.
        origin: String,
    },
    /// Two have one name.
    #[error("the fleet has two databases of the name {name}: give each a name of its own")]
    Twice {
        /// Which name.
        name: String,
    },
    /// The canary is not one of them.
    #[error("the canary {name} is none of the fleet's {count} databases, such as {such_as}")]
    NoCanary {
        /// Which.
        name: String,
        /// How many there are.
        count: usize,
        /// The first of them.
        such_as: String,
    },
    /// The waves make no sense.
    #[error(
        "waves must rise from 1 to at most 100 per cent, such as 10,50,100, and these do not: {shares:?}"
    )]
    Waves {
        /// What they are.
        shares: Vec<u8>,
    },
    /// A line of the list is none.
    #[error("{origin}:{line}: expected a database's name, or a name and its URL: {problem}")]
    Line {
        /// The list.
        origin: String,
        /// Which line. The first is 1.
        line: usize,
        /// What is wrong. Never the line itself, which may hold a password.
        problem: String,
    },
    /// The URL that the names complete is none.
    #[error(
        "the URL that the databases' names are put into is not of the form postgres://user:password@host:port/database"
    )]
    Base,
    /// The query did not give the databases.
    #[error("the query for the fleet's databases failed on {place}: {reason}")]
    Query {
        /// Host, port and database.
        place: String,
        /// What was seen.
        reason: String,
    },
    /// The database with the list does not let us in.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl FleetTarget {
    /// The database `name` on the server that `base` leads to.
    ///
    /// # Errors
    /// [`FleetError::Base`]; it does not repeat the URL, which may hold a password.
    pub fn on_server(base: &SecretString, name: &str) -> Result<Self, FleetError> {
        let mut url = Url::parse(base.expose_secret()).map_err(|_| FleetError::Base)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") || !url.has_host() {
            return Err(FleetError::Base);
        }
        let path = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        url.set_path(&path.to_string());
        Ok(Self { name: name.to_owned(), url: String::from(url).into() })
    }

    /// Reads a list: on each line a database's name, which is put into `base`, or a name and its whole URL. `#` begins a
    /// comment. `origin` is what errors call the list.
    ///
    /// # Errors
    /// [`FleetError`] with the line.
    pub fn list(
        text: &str,
        origin: &str,
        base: Option<&SecretString>,
    ) -> Result<Vec<Self>, FleetError> {
        let mut targets = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |problem: &str| FleetError::Line {
                origin: origin.to_owned(),
                line: index + 1,
                problem: problem.to_owned(),
            };
            let line = line.split_once('#').map_or(line, |(before, _)| before);
            let mut words = line.split_whitespace();
            let Some(name) = words.next() else { continue };
            targets.push(match (words.next(), words.next()) {
                (Some(url), None) if url.starts_with("postgres") => {
                    Self { name: name.to_owned(), url: url.to_owned().into() }
                }
                (None, _) if name.contains("://") => {
                    return Err(wrong("put a name before the URL"));
                }
                (None, _) => {
                    let base = base.ok_or_else(|| {
                        wrong("a name alone needs the URL of its server (DATABASE_URL)")
                    })?;
                    Self::on_server(base, name)?
                }
                (Some(_), None) => return Err(wrong("the second word is no postgres:// URL")),
                (_, Some(_)) => return Err(wrong("there are more than two words")),
            });
        }
        if targets.is_empty() {
            return Err(FleetError::Empty { origin: origin.to_owned() });
        }
        Ok(targets)
    }

    /// Asks the database of `base`: the query's first column is a database's name, which is put into `base`; a second one, if
    /// there is, its whole URL. Nothing can be written by it.
    ///
    /// # Errors
    /// [`FleetError`] if the query fails or gives nothing.
    pub async fn query(
        base: &SecretString,
        sql: &str,
        settings: &Settings,
    ) -> Result<Vec<Self>, FleetError> {
        let mut database = Database::connect(base, settings.clone()).await?;
        let place = database.place().to_owned();
        let failed =
            |error: sqlx::Error| FleetError::Query { place: place.clone(), reason: reason(&error) };
        sqlx::raw_sql("set default_transaction_read_only = on")
            .execute(&mut database.connection)
            .await
            .map_err(failed)?;
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned()));
        let rows = rows.fetch_all(&mut database.connection).await.map_err(failed)?;
        let mut targets = Vec::new();
        for row in rows {
            // Names are of the types text and name.
            let text =
                |index: usize| row.try_get_unchecked::<Option<String>, _>(index).map_err(failed);
            let Some(name) = text(0)? else { continue };
            let url = if row.columns().get(1).is_some_and(|c| !c.name().is_empty()) {
                text(1)?
            } else {
                None
            };
            targets.push(match url {
                Some(url) => Self { name, url: url.into() },
                None => Self::on_server(base, &name)?,
            });
        }
        if targets.is_empty() {
            return Err(FleetError::Empty { origin: "the query".into() });
        }
        Ok(targets)
    }
}

/// No two databases have one name.
pub(crate) fn each_once(targets: &[FleetTarget]) -> Result<(), FleetError> {
    let mut names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(FleetError::Twice { name: twice[0].to_owned() }),
        None => Ok(()),
    }
}

/// The canary, and all others in their order.
pub(crate) fn canary_first(
    mut targets: Vec<FleetTarget>,
    canary: Option<&str>,
) -> Result<(FleetTarget, Vec<FleetTarget>), FleetError> {
    each_once(&targets)?;
    let Some(first) = targets.first() else {
        return Err(FleetError::Empty { origin: "its list".into() });
    };
    let such_as = first.name.clone();
    let at = canary.map_or(Some(0), |name| targets.iter().position(|one| one.name == name));
    match at {
        Some(at) => {
            let canary = targets.remove(at);
            Ok((canary, targets))
        }
        None => Err(FleetError::NoCanary {
            name: canary.unwrap_or_default().to_owned(),
            count: targets.len(),
            such_as,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str) -> Result<Vec<(String, String)>, String> {
        let base = SecretString::from("postgres://u:p@h:5/x?sslmode=require");
        let targets = FleetTarget::list(text, "fleet.txt", Some(&base));
        let pair = |one: FleetTarget| (one.name, one.url.expose_secret().to_owned());
        targets
            .map(|targets| targets.into_iter().map(pair).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_has_names_or_names_and_urls() {
        let found = urls("# all\n one\ntwo postgres://a:b@c/d # other server\n\nodd/name\n");
        let expected = [
            ("one", "postgres://u:p@h:5/one?sslmode=require"),
            ("two", "postgres://a:b@c/d"),
            ("odd/name", "postgres://u:p@h:5/odd%2Fname?sslmode=require"),
        ];
        assert_eq!(found.unwrap(), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn what_is_wrong_with_a_list_is_told_without_its_passwords() {
        for (text, expected) in [
            ("", "fleet.txt gives none"),
            ("one\npostgres://u:secret@h/x", "fleet.txt:2: expected a database's name"),
            ("one mysql://u:secret@h/x", "fleet.txt:1: expected"),
            ("one postgres://u:secret@h/x y", "more than two words"),
        ] {
            let error = urls(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
        let no_base = FleetTarget::list("one", "fleet.txt", None).unwrap_err();
        assert!(no_base.to_string().contains("DATABASE_URL"), "{no_base}");
    }

    #[test]
    fn the_canary_is_first_and_must_be_there() {
        let all = || {
            urls("a\nb\nc").map(|_| ()).and_then(|()| {
                let base = SecretString::from("postgres://h/x");
                FleetTarget::list("a\nb\nc", "list", Some(&base)).map_err(|error| error.to_string())
            })
        };
        let (canary, rest) = canary_first(all().unwrap(), Some("b")).unwrap();
        let rest: Vec<&str> = rest.iter().map(|one| one.name.as_str()).collect();
        assert_eq!((canary.name.as_str(), rest), ("b", vec!["a", "c"]));
        let error = canary_first(all().unwrap(), Some("x")).unwrap_err().to_string();
        assert!(error.contains("none of the fleet's 3 databases, such as a"), "{error}");
        let mut twice = all().unwrap();
        twice.extend(all().unwrap());
        assert!(canary_first(twice, None).unwrap_err().to_string().contains("name a"));
    }
}
