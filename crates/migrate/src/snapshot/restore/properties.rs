//! What belongs to a database itself and is in no archive: owner, rights, settings.

use super::place::Admin;
use crate::failure::reason;
use crate::snapshot::error::ArchiveError;

/// The statements that make database `$2` like `$1`. Values of settings that are lists are kept quoted by the server.
const STATEMENTS: &str = "
    with live as (select * from pg_database where datname = $1)
    select sql from (
        select 1 as place, format('alter database %I owner to %I', $2, pg_get_userbyid(datdba)) as sql from live
        union all
        select 2, format('alter database %I connection limit %s', $2, datconnlimit) from live where datconnlimit <> -1
        union all
        select 3, format('revoke all on database %I from public', $2) from live where datacl is not null
        union all
        select 4, format('grant %s on database %I to %s%s', a.privilege_type, $2,
                         case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
                         case when a.is_grantable then ' with grant option' else '' end)
        from live, aclexplode(live.datacl) a where a.grantee <> live.datdba
        union all
        select 5, format('alter %s set %s = %s',
                         case when s.setrole = 0 then format('database %I', $2)
                              else format('role %I in database %I', pg_get_userbyid(s.setrole), $2) end,
                         split_part(c, '=', 1),
                         case when split_part(c, '=', 1) in ('search_path', 'temp_tablespaces', 'local_preload_libraries',
                                                             'session_preload_libraries')
                              then substr(c, strpos(c, '=') + 1) else quote_literal(substr(c, strpos(c, '=') + 1)) end)
        from live join pg_db_role_setting s on s.setdatabase = live.oid, unnest(s.setconfig) c
    ) all_of_them order by place, sql";

impl Admin {
    /// Gives a database the owner, the rights and the settings of the live one. Gives what could not be given.
    pub(super) async fn like_live(&mut self, name: &str) -> Result<Vec<String>, ArchiveError> {
        let live = self.live.clone();
        let statements: Result<Vec<String>, _> = sqlx::query_scalar(STATEMENTS)
            .bind(&live)
            .bind(name)
            .fetch_all(&mut self.connection)
            .await;
        let statements = statements.map_err(|error| self.failed(&error))?;
        if statements.is_empty() {
            return Ok(vec![format!(
                "there is no database {live}: owner, rights and settings of the database itself are not in a snapshot, and are \
                 to be set by hand"
            )]);
        }
        let mut refused = Vec::new();
        for statement in statements {
            let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone()));
            match done.execute(&mut self.connection).await {
                Ok(_) => {}
                Err(error @ sqlx::Error::Database(_)) => {
                    refused.push(format!("`{statement}` was refused: {}", reason(&error)));
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(refused)
    }
}
