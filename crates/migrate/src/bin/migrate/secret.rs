//! Where the database's URL comes from.

use std::path::Path;

use secrecy::SecretString;

/// The value of `variable`, from the file of `NAME=VALUE` lines if one is named, else from the environment.
pub(crate) fn read(variable: &str, file: Option<&Path>) -> Result<SecretString, String> {
    let Some(file) = file else {
        let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
        return value.map(SecretString::from).ok_or_else(|| {
            format!(
                "the variable {variable} holds no database URL: set it to postgres://user:password@host:port/database, or name \
                 another with --database-url-env, or a file with --env-file"
            )
        });
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("the file {} cannot be read: {error}", file.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut values =
        lines.filter_map(|line| line.strip_prefix("export ").unwrap_or(line).split_once('='));
    let value =
        values.rfind(|(name, _)| name.trim() == variable).map(|(_, value)| unquoted(value.trim()));
    value
        .filter(|value| !value.is_empty())
        .map(|value| value.to_owned().into())
        .ok_or_else(|| format!("the file {} gives no value to {variable}", file.display()))
}

fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_file_gives_the_last_value_of_the_variable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# X=no\nX=first\nexport X = \"a=b\"\nY=other\n").unwrap();
        assert_eq!(read("X", Some(file.path())).unwrap().expose_secret(), "a=b");
        let error = read("Z", Some(file.path())).unwrap_err();
        assert!(error.contains("gives no value to Z"), "{error}");
        assert!(read("X", Some(Path::new("/nowhere/x"))).unwrap_err().contains("/nowhere/x"));
    }
}
