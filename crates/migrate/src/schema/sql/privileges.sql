-- What was granted beyond what every object of its kind has by default, and what was revoked of that. What is not named by
-- objects that are read is dropped later.
with granted (class, id, sub, acl, owner, base) as (
    select 'pg_class'::regclass::oid, c.oid, 0, c.relacl, c.relowner,
           acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner)
    from pg_class c where c.relacl is not null and c.oid >= 16384
    union all
    select 'pg_class'::regclass::oid, c.oid, a.attnum, a.attacl, c.relowner, acldefault('c', c.relowner)
    from pg_attribute a join pg_class c on c.oid = a.attrelid
    where a.attacl is not null and not a.attisdropped and a.attrelid >= 16384
    union all
    select 'pg_proc'::regclass::oid, p.oid, 0, p.proacl, p.proowner, acldefault('f', p.proowner)
    from pg_proc p where p.proacl is not null and p.oid >= 16384 and {own p.pronamespace}
    union all
    select 'pg_type'::regclass::oid, t.oid, 0, t.typacl, t.typowner, acldefault('T', t.typowner)
    from pg_type t where t.typacl is not null and t.oid in {types}
    union all
    select 'pg_namespace'::regclass::oid, n.oid, 0, n.nspacl, n.nspowner, acldefault('n', n.nspowner)
    from pg_namespace n where n.nspacl is not null and {own n.oid}
    union all
    select 'pg_language'::regclass::oid, l.oid, 0, l.lanacl, l.lanowner, acldefault('l', l.lanowner)
    from pg_language l where l.lanacl is not null and l.oid >= 16384
    union all
    select 'pg_foreign_data_wrapper'::regclass::oid, f.oid, 0, f.fdwacl, f.fdwowner, acldefault('F', f.fdwowner)
    from pg_foreign_data_wrapper f where f.fdwacl is not null
    union all
    select 'pg_foreign_server'::regclass::oid, s.oid, 0, s.srvacl, s.srvowner, acldefault('S', s.srvowner)
    from pg_foreign_server s where s.srvacl is not null
), is_now as (
    select g.class, g.id, g.sub, g.owner, a.grantee, a.grantor, a.privilege_type, a.is_grantable
    from granted g cross join aclexplode(g.acl) a
), would_be as (
    select g.class, g.id, g.sub, g.owner, a.grantee, a.grantor, a.privilege_type, a.is_grantable
    from granted g cross join aclexplode(g.base) a
), differs as (
    select 'grant' as verb, * from (select * from is_now except select * from would_be) more
    union all
    select 'revoke', * from (select * from would_be except select * from is_now) less
)
select 'fact', class, id, sub, '',
       verb || ' ' || string_agg(privilege_type, ', ' order by privilege_type) || case verb when 'grant' then ' to ' else ' from ' end
           || case when grantee = 0 then 'public' else grantee::regrole::text end
           || case when is_grantable then ' with grant option' else '' end
           || case when grantor <> owner then ' by ' || grantor::regrole else '' end
from differs group by verb, class, id, sub, owner, grantee, grantor, is_grantable;

select 'fact', d.classoid, d.objoid, d.objsubid, '', 'comment ' || d.description
from pg_description d where d.objoid >= 16384
union all
select 'fact', d.classoid, d.objoid, d.objsubid, '', 'comment ' || d.description
from pg_description d join (select 'pg_namespace'::regclass as class, oid from pg_namespace where oid < 16384
                            union all select 'pg_extension'::regclass, oid from pg_extension where oid < 16384) o
    on d.objoid = o.oid and d.classoid = o.class;

select 'fact', s.classoid, s.objoid, s.objsubid, '', 'security label for ' || s.provider || ' ' || s.label from pg_seclabel s;
