//! A throw-away server on this machine, with the roles of the database's own.

use liftlock_postgres::{Cluster, ClusterError, ClusterOptions};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::failure::reason;

/// A server that ends when it is dropped, in a directory that goes with it.
pub(super) struct Private {
    cluster: Cluster,
    _directory: tempfile::TempDir,
}

/// How to reach the database on it.
pub(super) struct PrivateDatabase {
    pub(super) name: String,
    /// As its superuser, who copies.
    pub(super) admin: SecretString,
    /// As the user whom the migrations run as.
    pub(super) trial: SecretString,
}

/// Roles of hosted services that may nearly do what a superuser may.
const NEARLY_SUPER: &str = "'rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin'";

impl Private {
    pub(super) async fn start() -> Result<Self, ClusterError> {
        let directory = tempfile::tempdir().map_err(|error| ClusterError::Directory {
            path: std::env::temp_dir(),
            reason: error.to_string(),
        })?;
        let options = ClusterOptions {
            durable: false,
            remove_at_end: true,
            ..ClusterOptions::new(directory.path())
        };
        Ok(Self { cluster: Cluster::start(options).await?, _directory: directory })
    }

    pub(super) fn port(&self) -> u16 {
        self.cluster.port()
    }

    /// Makes the roles of the server that `like` is connected to, and a database of the same name, owner and rights. The trial
    /// connects as the same user, unless that is a superuser, or nearly one. What failed goes to `notes`.
    pub(super) async fn prepare(
        &self,
        like: &mut PgConnection,
        notes: &mut Vec<String>,
    ) -> Result<PrivateDatabase, sqlx::Error> {
        let postgres = self.cluster.url("postgres");
        let mut connection = PgConnection::connect(postgres.expose_secret()).await?;
        let mut failures = Vec::new();
        for sql in roles(like).await? {
            let made = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
            failures.extend(made.err().map(|error| reason(&error)));
        }
        if let Some(first) = failures.first() {
            notes.push(format!(
                "{} of the server's roles or memberships could not be made: {first}",
                failures.len()
            ));
        }
        let (name, statements) = database(like).await?;
        for sql in statements {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        }
        let admin = with_path(&postgres, &name);
        let trial = match ordinary_user(like).await? {
            Some(user) => self.let_in(&mut connection, &user, &admin).await?,
            None => admin.clone(),
        };
        connection.close().await?;
        Ok(PrivateDatabase { name, admin, trial })
    }

    /// Gives the role `user` a password that is good on this server alone: the superuser's.
    async fn let_in(
        &self,
        connection: &mut PgConnection,
        user: &str,
        admin: &SecretString,
    ) -> Result<SecretString, sqlx::Error> {
        let invalid = || sqlx::Error::Configuration("the private server's URL".into());
        let mut url = url::Url::parse(admin.expose_secret()).map_err(|_| invalid())?;
        let password = url.password().unwrap_or_default().to_owned();
        let sql = sqlx::query_scalar(
            "select format('alter role %I login password %L', $1::text, $2::text)",
        );
        let sql: String = sql.bind(user).bind(&password).fetch_one(&mut *connection).await?;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
        url.set_username(user).map_err(|()| invalid())?;
        Ok(String::from(url).into())
    }
}

fn with_path(url: &SecretString, database: &str) -> SecretString {
    let url = url.expose_secret();
    let server = url.rsplit_once('/').map_or(url, |(server, _)| server);
    let name = percent_encoding::utf8_percent_encode(database, percent_encoding::NON_ALPHANUMERIC);
    format!("{server}/{name}").into()
}

/// The statements that make the roles, and who is a member of what. Passwords are not read.
async fn roles(like: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select format('create role %I %s %s %s %s %s', rolname,
                       case when rolsuper then 'superuser' else 'nosuperuser' end,
                       case when rolinherit then 'inherit' else 'noinherit' end,
                       case when rolcreaterole then 'createrole' else 'nocreaterole' end,
                       case when rolcreatedb then 'createdb' else 'nocreatedb' end,
                       case when rolbypassrls then 'bypassrls' else 'nobypassrls' end)
         from pg_roles where rolname !~ '^pg_' and rolname <> 'postgres'
         union all
         select format('grant %s to %s%s', m.roleid::regrole, m.member::regrole,
                       case when bool_or(m.admin_option) then ' with admin option' else '' end)
         from pg_auth_members m
         where m.member::regrole::text !~ '^pg_' group by m.roleid, m.member",
    )
    .fetch_all(like)
    .await
}

/// The database's name, and what makes it with its owner and rights.
async fn database(like: &mut PgConnection) -> Result<(String, Vec<String>), sqlx::Error> {
    let row = sqlx::query(
        "select datname::text as name,
                format('create database %I template template0 encoding %L', datname, pg_encoding_to_char(encoding)) as make,
                format('alter database %I owner to %s', datname, datdba::regrole) as own,
                datacl is not null as restricted, format('revoke all on database %I from public', datname) as restrict
         from pg_database where datname = current_database()",
    )
    .fetch_one(&mut *like)
    .await?;
    let name: String = row.try_get("name")?;
    let mut statements: Vec<String> = vec![row.try_get("make")?, row.try_get("own")?];
    if name == "postgres" {
        statements.remove(0);
    }
    if row.try_get("restricted")? {
        statements.push(row.try_get("restrict")?);
        let grants: Vec<String> = sqlx::query_scalar(
            "select format('grant %s on database %I to %s', a.privilege_type, d.datname,
                           case a.grantee when 0 then 'public' else a.grantee::regrole::text end)
             from pg_database d, aclexplode(d.datacl) a where d.datname = current_database()",
        )
        .fetch_all(like)
        .await?;
        statements.extend(grants);
    }
    Ok((name, statements))
}

/// The user, if it is one who may not do everything.
async fn ordinary_user(like: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(format!(
        "select r.rolname::text from pg_roles r
         where r.rolname = current_user and not r.rolsuper and not exists (
             select from pg_roles n where n.rolname in ({NEARLY_SUPER}) and pg_has_role(r.oid, n.oid, 'member'))"
    )))
    .fetch_optional(like)
    .await
}
