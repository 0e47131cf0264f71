--if routines
select case p.prokind when 'p' then '+procedure' else '+function' end,
       'pg_proc'::regclass::oid, p.oid, 0, p.oid::regprocedure::text, 'owner ' || p.proowner::regrole
from pg_proc p where p.oid >= 16384 and p.prokind <> 'a' and {own p.pronamespace} and {free pg_proc p.oid};

--if routines
select 'definition', 'pg_proc'::regclass::oid, p.oid, 0, '', pg_get_functiondef(p.oid)
from pg_proc p where p.oid >= 16384 and p.prokind <> 'a' and {own p.pronamespace} and {free pg_proc p.oid};

--if aggregates
select '+aggregate', 'pg_proc'::regclass::oid, p.oid, 0, p.oid::regprocedure::text,
       concat_ws(E'\x1f',
           'arguments ' || pg_get_function_arguments(p.oid),
           'returns ' || pg_get_function_result(p.oid),
           case a.aggkind when 'o' then 'ordered set' when 'h' then 'hypothetical set' end || ' with ' || a.aggnumdirectargs || ' direct arguments',
           'state ' || a.aggtransfn::regprocedure || ' on ' || format_type(a.aggtranstype, null)
               || case when a.aggtransspace <> 0 then ' of ' || a.aggtransspace || ' bytes' else '' end,
           'initial state ' || quote_literal(a.agginitval),
           case when a.aggfinalfn <> 0 then 'final ' || a.aggfinalfn::regprocedure || ' ' || a.aggfinalmodify::text
               || case when a.aggfinalextra then ' with extra arguments' else '' end end,
           case when a.aggcombinefn <> 0 then 'combine ' || a.aggcombinefn::regprocedure end,
           case when a.aggserialfn <> 0 then 'serialize ' || a.aggserialfn::regprocedure end,
           case when a.aggdeserialfn <> 0 then 'deserialize ' || a.aggdeserialfn::regprocedure end,
           case when a.aggmtransfn <> 0 then 'moving state ' || a.aggmtransfn::regprocedure || ', ' || a.aggminvtransfn::regprocedure
               || ' on ' || format_type(a.aggmtranstype, null) || ' of ' || a.aggmtransspace || ' bytes' end,
           'moving initial state ' || quote_literal(a.aggminitval),
           case when a.aggmfinalfn <> 0 then 'moving final ' || a.aggmfinalfn::regprocedure || ' ' || a.aggmfinalmodify::text
               || case when a.aggmfinalextra then ' with extra arguments' else '' end end,
           case when a.aggsortop <> 0 then 'sort operator ' || a.aggsortop::regoperator end,
           case p.proparallel when 's' then 'parallel safe' when 'r' then 'parallel restricted' end,
           'owner ' || p.proowner::regrole)
from pg_proc p join pg_aggregate a on a.aggfnoid = p.oid
where a.aggfnoid >= 16384 and {own p.pronamespace} and {free pg_proc p.oid};

--if event triggers
select '+event trigger', 'pg_event_trigger'::regclass::oid, e.oid, 0, quote_ident(e.evtname),
       concat_ws(E'\x1f',
           'on ' || e.evtevent || ' execute ' || e.evtfoid::regprocedure,
           'when tag in (' || (select string_agg(quote_literal(t), ', ' order by t) from unnest(e.evttags) t) || ')',
           case e.evtenabled when 'D' then 'disabled' when 'R' then 'enabled for replicas' when 'A' then 'always enabled' end,
           'owner ' || e.evtowner::regrole)
from pg_event_trigger e where {free pg_event_trigger e.oid};

--if languages
select '+language', 'pg_language'::regclass::oid, l.oid, 0, quote_ident(l.lanname),
       concat_ws(E'\x1f',
           case when l.lanpltrusted then 'trusted' end,
           case when l.lanplcallfoid <> 0 then 'handler ' || l.lanplcallfoid::regprocedure end,
           case when l.laninline <> 0 then 'inline ' || l.laninline::regprocedure end,
           case when l.lanvalidator <> 0 then 'validator ' || l.lanvalidator::regprocedure end,
           'owner ' || l.lanowner::regrole)
from pg_language l where l.oid >= 16384 and {free pg_language l.oid};

--if transforms
select '+transform', 'pg_transform'::regclass::oid, t.oid, 0,
       format_type(t.trftype, null) || ' for language ' || (select quote_ident(lanname) from pg_language where oid = t.trflang),
       'from ' || t.trffromsql::regprocedure || ' to ' || t.trftosql::regprocedure
from pg_transform t where t.oid >= 16384 and {free pg_transform t.oid};
