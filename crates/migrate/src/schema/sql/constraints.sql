--if constraints
-- Constraints of tables and domains. A partition's copy of a foreign key follows from its parent's.
select '+constraint', 'pg_constraint'::regclass::oid, c.oid, 0,
       quote_ident(c.conname) || ' on '
           || case when c.conrelid = 0 then 'domain ' || c.contypid::regtype else c.conrelid::regclass::text end,
       concat_ws(E'\x1f',
           pg_get_constraintdef(c.oid),
           case when not c.conislocal and not coalesce(t.relispartition, false) and c.conrelid <> 0 then 'inherited' end,
           case when i.indisclustered then 'clustered' end,
           case when i.indisreplident then 'replica identity' end,
           case when not i.indisvalid then 'its index is INVALID' end,
           'index options ' || {options x.reloptions},
           'index tablespace ' || case when x.reltablespace <> 0 then (select quote_ident(spcname) from pg_tablespace where oid = x.reltablespace) end)
from pg_constraint c
left join pg_class t on t.oid = c.conrelid
left join pg_index i on i.indexrelid = c.conindid and c.contype in ('p', 'u', 'x')
left join pg_class x on x.oid = i.indexrelid
where (c.conrelid in {relations} and c.contype in ('c', 'p', 'u', 'x', 'f', 'n') and (c.contype <> 'f' or c.conparentid = 0))
   or c.contypid in {types};

--if constraints
-- What is said of the index of a constraint is said of the constraint.
select 'alias', 'pg_class'::regclass::oid, c.conindid, 0, 'pg_constraint'::regclass::oid::text, c.oid::text
from pg_constraint c where c.contype in ('p', 'u', 'x') and c.conrelid in {relations};

--if indexes
select '+index', 'pg_class'::regclass::oid, c.oid, 0, c.oid::regclass::text,
       concat_ws(E'\x1f',
           pg_get_indexdef(c.oid),
           case when not i.indisvalid then 'INVALID' end,
           case when i.indisclustered then 'clustered' end,
           case when i.indisreplident then 'replica identity' end,
           'partition of ' || case when c.relispartition then (select p.inhparent::regclass from pg_inherits p where p.inhrelid = c.oid) end,
           'tablespace ' || case when c.reltablespace <> 0 then (select quote_ident(spcname) from pg_tablespace where oid = c.reltablespace) end,
           (select string_agg('statistics of column ' || a.attnum || ': ' || a.attstattarget, E'\x1f' order by a.attnum)
            from pg_attribute a where a.attrelid = c.oid and a.attstattarget >= 0))
from pg_index i join pg_class c on c.oid = i.indexrelid
where i.indrelid in {relations}
  and not exists (select from pg_constraint k where k.conrelid = i.indrelid and k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x'));

--if triggers
select '+trigger', 'pg_trigger'::regclass::oid, t.oid, 0, quote_ident(t.tgname) || ' on ' || t.tgrelid::regclass,
       concat_ws(E'\x1f', pg_get_triggerdef(t.oid),
           case t.tgenabled when 'D' then 'disabled' when 'R' then 'enabled for replicas' when 'A' then 'always enabled' end)
from pg_trigger t left join pg_trigger u on u.oid = t.tgparentid
where t.tgrelid in {relations} and (not t.tgisinternal and t.tgparentid = 0 or t.tgenabled <> u.tgenabled);

--if triggers
-- Those that enforce foreign keys.
select distinct 'fact', 'pg_constraint'::regclass::oid, t.tgconstraint, 0, '', 'its triggers are disabled'
from pg_trigger t where t.tgisinternal and t.tgconstraint <> 0 and t.tgenabled not in ('O', 'A');

--if views
select '+rule', 'pg_rewrite'::regclass::oid, r.oid, 0, quote_ident(r.rulename) || ' on ' || r.ev_class::regclass,
       concat_ws(E'\x1f', pg_get_ruledef(r.oid),
           case r.ev_enabled when 'D' then 'disabled' when 'R' then 'enabled for replicas' when 'A' then 'always enabled' end)
from pg_rewrite r where r.ev_class in {relations} and not (r.rulename = '_RETURN' and r.ev_type = '1');

--if policies
select '+policy', 'pg_policy'::regclass::oid, p.oid, 0, quote_ident(p.polname) || ' on ' || p.polrelid::regclass,
       concat_ws(E'\x1f',
           case when p.polpermissive then 'permissive' else 'restrictive' end || ' for '
               || case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end
               || ' to ' || (select string_agg(case when r = 0 then 'public' else r::regrole::text end, ', '
                                               order by case when r = 0 then 'public' else r::regrole::text end)
                             from unnest(p.polroles) r),
           'using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
           'with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
from pg_policy p where p.polrelid in {relations};

--if statistics
select '+statistics', 'pg_statistic_ext'::regclass::oid, s.oid, 0, s.stxnamespace::regnamespace || '.' || quote_ident(s.stxname),
       concat_ws(E'\x1f',
           'on ' || s.stxrelid::regclass || ' ('
               || concat_ws(', ',
                   (select string_agg(quote_ident(a.attname), ', ' order by a.attname)
                    from pg_attribute a where a.attrelid = s.stxrelid and a.attnum = any (s.stxkeys)),
                   array_to_string(pg_get_statisticsobjdef_expressions(s.oid), ', '), --@14+
                   null)
               || ')',
           'kinds ' || (select string_agg(case k when 'd' then 'ndistinct' when 'f' then 'dependencies' when 'm' then 'mcv' else k::text end, ', ' order by k)
                        from unnest(s.stxkind) k where k <> 'e'),
           case when s.stxstattarget >= 0 then 'statistics ' || s.stxstattarget end,
           'owner ' || s.stxowner::regrole)
from pg_statistic_ext s where s.stxrelid in {relations};
