//! A database's URL, as PostgreSQL's own programs take it: the password apart.

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::process::Command;
use url::Url;

/// Parameters that sqlx knows and libpq refuses.
const NOT_FOR_LIBPQ: [&str; 1] = ["statement-cache-capacity"];

/// Where to connect.
pub(crate) struct Target {
    /// The URL without its password.
    url: String,
    password: Option<SecretString>,
}

impl Target {
    /// Takes the password out of `url`. None if it is not a `postgres://` URL.
    pub(crate) fn parse(url: &SecretString) -> Option<Self> {
        let mut url = Url::parse(url.expose_secret()).ok()?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return None;
        }
        let mut password =
            url.password().map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
        url.set_password(None).ok();
        let mut kept = Vec::new();
        for (key, value) in url.query_pairs() {
            match key.as_ref() {
                "password" => password = Some(value.into_owned()),
                key if NOT_FOR_LIBPQ.contains(&key) => {}
                _ => kept.push((key.into_owned(), value.into_owned())),
            }
        }
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        Some(Self { url: url.into(), password: password.map(SecretString::from) })
    }

    /// Host, port and database, for people.
    pub(crate) fn place(&self) -> String {
        let Ok(url) = Url::parse(&self.url) else { return String::new() };
        let port = url.port().unwrap_or(5432);
        format!("{}:{port}{}", url.host_str().unwrap_or("localhost"), url.path())
    }

    /// Tells `command` where to connect: the password through the environment, never as an argument.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.arg("--no-password").arg("--dbname").arg(&self.url);
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password.expose_secret());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_an_argument() {
        let url = "postgres://u:p%40ss@db:5433/shop?sslmode=require&statement-cache-capacity=0"
            .to_owned();
        let target = Target::parse(&url.into()).unwrap();
        assert_eq!(target.url, "postgres://u@db:5433/shop?sslmode=require");
        assert_eq!(target.password.as_ref().unwrap().expose_secret(), "p@ss");
        assert_eq!(target.place(), "db:5433/shop");
        let mut command = Command::new("pg_dump");
        target.tell(&mut command);
        assert!(!format!("{:?}", command.as_std().get_args().collect::<Vec<_>>()).contains("p@ss"));
    }

    #[test]
    fn a_password_among_the_parameters_is_taken_out_too() {
        let target =
            Target::parse(&"postgres://u@db/shop?password=secret".to_owned().into()).unwrap();
        assert_eq!(target.url, "postgres://u@db/shop");
        assert_eq!(target.password.unwrap().expose_secret(), "secret");
        assert!(Target::parse(&"mysql://u@db/shop".to_owned().into()).is_none());
    }
}
