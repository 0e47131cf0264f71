//! PgBouncer between us and the server.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;

use liftlock_migrate::{Database, Failure, LockError};
use liftlock_model::Exit;
use liftlock_testkit::TestDatabase;
use liftlock_testkit::requirement::{Requirement, met};
use secrecy::{ExposeSecret as _, SecretString};

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use crate::support::{Files, ask, quiet, settings, tables};

const A: (&str, &str, &str) = ("V0001__a", "create table a (id int)", "drop table a");

/// A PgBouncer in front of one database, which ends with this.
struct Bouncer {
    child: Child,
    url: SecretString,
    _directory: tempfile::TempDir,
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Bouncer {
    /// None if PgBouncer is not installed and the test is to be skipped.
    async fn start(database: &TestDatabase, mode: &str, more: &str) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists());
        let program = met(Requirement::PgBouncer, program.ok_or("install pgbouncer"))?;
        let real = url::Url::parse(database.url().expose_secret()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        // Nobody else takes this port between the look and the start, as far as can be: a start that fails is tried again.
        for _ in 0..5 {
            let port =
                std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = spawn(program, &directory, &real, port, mode, more);
            let mut url = real.clone();
            url.set_port(Some(port)).unwrap();
            loop {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    let url = SecretString::from(url.to_string());
                    return Some(Self { child, url, _directory: directory });
                }
                if child.try_wait().unwrap().is_some() {
                    break;
                }
            }
        }
        panic!("pgbouncer does not start");
    }
}

fn spawn(
    program: &str,
    directory: &tempfile::TempDir,
    real: &url::Url,
    port: u16,
    mode: &str,
    more: &str,
) -> Child {
    let (host, server) = (real.host_str().unwrap(), real.port().unwrap());
    let (user, password) = (real.username(), real.password().unwrap());
    let ini = directory.path().join("pgbouncer.ini");
    let users = directory.path().join("users.txt");
    std::fs::write(&users, format!("\"{user}\" \"{password}\"\n")).unwrap();
    let text = format!(
        "[databases]\n* = host={host} port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = plain\nauth_file = {}\npool_mode = {mode}\n{more}\n",
        users.display()
    );
    std::fs::write(&ini, text).unwrap();
    let mut command = Command::new(program);
    command.arg(&ini).stdout(Stdio::null()).stderr(Stdio::null());
    // It refuses to run as root.
    if rustix::process::getuid().is_root() {
        let nobody = 65534;
        for path in [directory.path(), &ini, &users] {
            std::os::unix::fs::chown(path, Some(nobody), Some(nobody)).unwrap();
        }
        command.uid(nobody).gid(nobody);
    }
    command.spawn().unwrap()
}

/// A pool in transaction mode would strand the run's lock in a session that others get next: it is refused with the reason,
/// before anything is touched, and leaves no setting behind.
#[tokio::test]
async fn a_pool_in_transaction_mode_is_refused_with_the_reason() {
    let Some(database) = TestDatabase::new().await else { return };
    for more in [
        "",
        "ignore_startup_parameters = extra_float_digits, options",
        "server_round_robin = 1\ndefault_pool_size = 3",
        "default_pool_size = 1",
    ] {
        let Some(bouncer) = Bouncer::start(&database, "transaction", more).await else { return };
        let mut liftlock = Database::connect(&bouncer.url, settings()).await.unwrap();
        let error = liftlock.apply(&Files::new(&[A]).read(), None, &mut quiet).await.unwrap_err();
        assert!(matches!(error.failure, Failure::Lock(LockError::Pooled)), "{more}: {error}");
        assert!(error.to_string().contains("pooler in transaction mode"), "{error}");
        assert_eq!(error.exit(), Exit::Usage);
        assert_eq!(tables(&database).await, "null");
        let plain = PgConnectOptions::from_str(bouncer.url.expose_secret()).unwrap();
        let mut pooled = plain.extra_float_digits(None).connect().await.unwrap();
        crate::support::execute(&mut pooled, "create table t (); drop table t").await;
    }
    let held = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
                where locktype = 'advisory' and datname = current_database()";
    assert_eq!(ask(&database, held).await, "0");
}

/// A pool in session mode gives us one session for as long as we are there.
#[tokio::test]
async fn a_pool_in_session_mode_is_fine() {
    let Some(database) = TestDatabase::new().await else { return };
    let Some(bouncer) = Bouncer::start(&database, "session", "").await else { return };
    let mut liftlock = Database::connect(&bouncer.url, settings()).await.unwrap();
    liftlock.apply(&Files::new(&[A]).read(), None, &mut quiet).await.unwrap();
    assert_eq!(tables(&database).await, "a");
}
