select '+schema', 'pg_namespace'::regclass::oid, n.oid, 0, quote_ident(n.nspname), 'owner ' || n.nspowner::regrole
from pg_namespace n where {own n.oid} and {free pg_namespace n.oid};

select '+extension', 'pg_extension'::regclass::oid, e.oid, 0, quote_ident(e.extname), 'schema ' || e.extnamespace::regnamespace
from pg_extension e;

select 'note', 'pg_extension'::regclass::oid, e.oid, 0, '', 'version ' || e.extversion from pg_extension e;

--if access methods
select '+access method', 'pg_am'::regclass::oid, a.oid, 0, quote_ident(a.amname),
       case a.amtype when 'i' then 'index' else 'table' end || ' handler ' || a.amhandler::regproc
from pg_am a where a.oid >= 16384 and {free pg_am a.oid};

--if foreign data wrappers
select '+foreign data wrapper', 'pg_foreign_data_wrapper'::regclass::oid, f.oid, 0, quote_ident(f.fdwname),
       concat_ws(E'\x1f',
           case when f.fdwhandler <> 0 then 'handler ' || f.fdwhandler::regproc end,
           case when f.fdwvalidator <> 0 then 'validator ' || f.fdwvalidator::regproc end,
           'options ' || {secret f.fdwoptions},
           'owner ' || f.fdwowner::regrole)
from pg_foreign_data_wrapper f where {free pg_foreign_data_wrapper f.oid};

--if servers
select '+server', 'pg_foreign_server'::regclass::oid, s.oid, 0, quote_ident(s.srvname),
       concat_ws(E'\x1f',
           'foreign data wrapper ' || (select quote_ident(fdwname) from pg_foreign_data_wrapper f where f.oid = s.srvfdw),
           'type ' || quote_literal(s.srvtype), 'version ' || quote_literal(s.srvversion),
           'options ' || {secret s.srvoptions},
           'owner ' || s.srvowner::regrole)
from pg_foreign_server s where {free pg_foreign_server s.oid};

--if user mappings
-- Without options: they hold passwords, and only some users may see them.
select '+user mapping', 'pg_user_mapping'::regclass::oid, m.umid, 0,
       case when m.umuser = 0 then 'public' else m.umuser::regrole::text end || ' on ' || quote_ident(m.srvname), ''
from pg_user_mappings m;

--if publications
select '+publication', 'pg_publication'::regclass::oid, p.oid, 0, quote_ident(p.pubname),
       concat_ws(E'\x1f',
           concat_ws(', ', case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
               case when p.pubdelete then 'delete' end, case when p.pubtruncate then 'truncate' end),
           case when p.puballtables then 'all tables' end,
           case when p.pubviaroot then 'via root' end,
           case p.pubgencols when 's' then 'stored generated columns' end, --@18+
           'owner ' || p.pubowner::regrole)
from pg_publication p where {free pg_publication p.oid};

--if publications
select 'fact', 'pg_publication'::regclass::oid, r.prpubid, 0, '',
       concat_ws(' ', 'table ' || r.prrelid::regclass,
           '(' || (select string_agg(quote_ident(a.attname), ', ' order by a.attname) --@15+
                   from pg_attribute a where a.attrelid = r.prrelid and a.attnum = any (r.prattrs)) || ')', --@15+
           'where ' || pg_get_expr(r.prqual, r.prrelid), --@15+
           null)
from pg_publication_rel r where r.prrelid in {relations};

--if publications
select 'fact', 'pg_publication'::regclass::oid, n.pnpubid, 0, '', 'schema ' || n.pnnspid::regnamespace --@15+
from pg_publication_namespace n; --@15+

--if subscriptions
-- Without the connection: it holds a password. PostgreSQL 13 shows the rest to superusers only.
select '+subscription', 'pg_subscription'::regclass::oid, s.oid, 0, quote_ident(s.subname), --@14+
       concat_ws(E'\x1f', --@14+
           'publications ' || (select string_agg(quote_ident(p), ', ' order by p) from unnest(s.subpublications) p), --@14+
           'slot ' || s.subslotname, 'synchronous commit ' || s.subsynccommit, 'owner ' || s.subowner::regrole) --@14+
from pg_subscription s where s.subdbid = (select oid from pg_database where datname = current_database()); --@14+

--if default privileges
select '+default privileges', 'pg_default_acl'::regclass::oid, d.oid, 0,
       'of ' || d.defaclrole::regrole || coalesce(' in schema ' || nullif(d.defaclnamespace, 0)::regnamespace, '') || ' on '
           || case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types'
                                   when 'n' then 'schemas' when 'L' then 'large objects' else d.defaclobjtype::text end, ''
from pg_default_acl d where d.defaclnamespace = 0 or {own d.defaclnamespace};

--if default privileges
select 'fact', 'pg_default_acl'::regclass::oid, d.oid, 0, '',
       'grant ' || string_agg(a.privilege_type, ', ' order by a.privilege_type) || ' to '
           || case when a.grantee = 0 then 'public' else a.grantee::regrole::text end
           || case when a.is_grantable then ' with grant option' else '' end
from pg_default_acl d cross join aclexplode(d.defaclacl) a
group by d.oid, a.grantee, a.is_grantable;
