-- Types that are not the row type of a table, nor the array or multirange type of another.
select case t.typtype when 'd' then '+domain' else '+type' end,
       'pg_type'::regclass::oid, t.oid, 0, format_type(t.oid, null),
       concat_ws(E'\x1f',
           'enum (' || (select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid) || ')',
           case when t.typtype = 'e' and not exists (select from pg_enum e where e.enumtypid = t.oid) then 'enum ()' end,
           case when t.typtype = 'c' then 'composite' end,
           case when t.typtype = 'p' or not t.typisdefined then 'shell' end,
           case when t.typtype = 'd' then concat_ws(' ',
               format_type(t.typbasetype, t.typtypmod),
               case when t.typcollation not in (0, b.typcollation) then 'collate ' || t.typcollation::regcollation end,
               'default ' || coalesce(pg_get_expr(t.typdefaultbin, 0), quote_literal(t.typdefault)),
               case when t.typnotnull then 'not null' end) end,
           case when t.typtype = 'b' then concat_ws(E'\x1f',
               'input ' || t.typinput::regprocedure || ', output ' || t.typoutput::regprocedure,
               case when t.typreceive <> 0 then 'receive ' || t.typreceive::regprocedure end,
               case when t.typsend <> 0 then 'send ' || t.typsend::regprocedure end,
               case when t.typmodin <> 0 then 'modifier input ' || t.typmodin::regprocedure end,
               case when t.typmodout <> 0 then 'modifier output ' || t.typmodout::regprocedure end,
               case when t.typanalyze <> 0 then 'analyze ' || t.typanalyze::regprocedure end,
               'length ' || t.typlen || case when t.typbyval then ' by value' else '' end || ' alignment ' || t.typalign::text || ' storage ' || t.typstorage::text,
               'category ' || t.typcategory::text || case when t.typispreferred then ' preferred' else '' end || ' delimiter ' || quote_literal(t.typdelim::text),
               case when t.typelem <> 0 then 'element ' || format_type(t.typelem, null) end,
               case when t.typcollation <> 0 then 'collatable' end,
               'default ' || quote_literal(t.typdefault)) end,
           'range of ' || format_type(r.rngsubtype, null),
           case when r.rngcollation <> 0 then 'collate ' || r.rngcollation::regcollation end,
           'operator class ' || (select o.opcnamespace::regnamespace || '.' || quote_ident(o.opcname) from pg_opclass o where o.oid = r.rngsubopc),
           case when r.rngcanonical <> 0 then 'canonical ' || r.rngcanonical::regprocedure end,
           case when r.rngsubdiff <> 0 then 'difference ' || r.rngsubdiff::regprocedure end,
           'multirange ' || format_type(r.rngmultitypid, null), --@14+
           'owner ' || t.typowner::regrole)
from pg_type t left join pg_range r on r.rngtypid = t.oid left join pg_type b on b.oid = t.typbasetype
where t.oid in {types};

-- A comment on an attribute names the type's relation.
select 'alias', 'pg_class'::regclass::oid, t.typrelid, 0, 'pg_type'::regclass::oid::text, t.oid::text
from pg_type t where t.typtype = 'c' and t.oid in {types};

--if casts
select '+cast', 'pg_cast'::regclass::oid, c.oid, 0, format_type(c.castsource, null) || ' as ' || format_type(c.casttarget, null),
       concat_ws(E'\x1f',
           case c.castmethod when 'b' then 'binary coercible' when 'i' then 'through text' else 'with ' || c.castfunc::regprocedure end,
           case c.castcontext when 'a' then 'in assignments' when 'i' then 'implicit' end)
from pg_cast c where c.oid >= 16384 and {free pg_cast c.oid};

--if operators
select '+operator', 'pg_operator'::regclass::oid, o.oid, 0, o.oid::regoperator::text,
       concat_ws(E'\x1f',
           'function ' || o.oprcode::regprocedure,
           case when o.oprcom <> 0 then 'commutator ' || o.oprcom::regoperator end,
           case when o.oprnegate <> 0 then 'negator ' || o.oprnegate::regoperator end,
           case when o.oprrest <> 0 then 'restrict ' || o.oprrest::regproc end,
           case when o.oprjoin <> 0 then 'join ' || o.oprjoin::regproc end,
           case when o.oprcanmerge then 'merges' end,
           case when o.oprcanhash then 'hashes' end,
           'owner ' || o.oprowner::regrole)
from pg_operator o where {own o.oprnamespace} and {free pg_operator o.oid};

--if operator families
select '+operator family', 'pg_opfamily'::regclass::oid, f.oid, 0,
       f.opfnamespace::regnamespace || '.' || quote_ident(f.opfname) || ' using ' || (select quote_ident(amname) from pg_am where oid = f.opfmethod),
       concat_ws(E'\x1f',
           (select string_agg(format('operator %s %s%s', o.amopstrategy, o.amopopr::regoperator,
                       ' order by ' || (select s.opfnamespace::regnamespace || '.' || quote_ident(s.opfname)
                                        from pg_opfamily s where s.oid = o.amopsortfamily)),
                       E'\x1f' order by o.amopstrategy, o.amopopr::regoperator::text)
            from pg_amop o where o.amopfamily = f.oid),
           (select string_agg(format('function %s (%s, %s) %s', p.amprocnum, format_type(p.amproclefttype, null),
                       format_type(p.amprocrighttype, null), p.amproc::regprocedure),
                       E'\x1f' order by p.amprocnum, p.amproc::regprocedure::text)
            from pg_amproc p where p.amprocfamily = f.oid),
           'owner ' || f.opfowner::regrole)
from pg_opfamily f where {own f.opfnamespace} and {free pg_opfamily f.oid};

--if operator classes
select '+operator class', 'pg_opclass'::regclass::oid, c.oid, 0,
       c.opcnamespace::regnamespace || '.' || quote_ident(c.opcname) || ' using ' || (select quote_ident(amname) from pg_am where oid = c.opcmethod),
       concat_ws(E'\x1f',
           'for type ' || format_type(c.opcintype, null) || case when c.opcdefault then ' default' else '' end,
           case when c.opckeytype <> 0 then 'storage ' || format_type(c.opckeytype, null) end,
           'family ' || (select f.opfnamespace::regnamespace || '.' || quote_ident(f.opfname) from pg_opfamily f where f.oid = c.opcfamily),
           'owner ' || c.opcowner::regrole)
from pg_opclass c where {own c.opcnamespace} and {free pg_opclass c.oid};

--if collations
select '+collation', 'pg_collation'::regclass::oid, c.oid, 0, c.collnamespace::regnamespace || '.' || quote_ident(c.collname),
       concat_ws(E'\x1f',
           'provider ' || c.collprovider::text || case when c.collisdeterministic then '' else ' not deterministic' end,
           'collate ' || quote_literal(c.collcollate) || ' ctype ' || quote_literal(c.collctype),
           'locale ' || quote_literal(c.colliculocale), --@15+ --@<17
           'locale ' || quote_literal(c.colllocale), --@17+
           'rules ' || quote_literal(c.collicurules), --@16+
           'owner ' || c.collowner::regrole)
from pg_collation c where {own c.collnamespace} and {free pg_collation c.oid};

--if conversions
select '+conversion', 'pg_conversion'::regclass::oid, c.oid, 0, c.connamespace::regnamespace || '.' || quote_ident(c.conname),
       concat_ws(E'\x1f',
           'from ' || pg_encoding_to_char(c.conforencoding) || ' to ' || pg_encoding_to_char(c.contoencoding) || ' by ' || c.conproc::regproc
               || case when c.condefault then ' default' else '' end,
           'owner ' || c.conowner::regrole)
from pg_conversion c where {own c.connamespace} and {free pg_conversion c.oid};

--if text search configurations
select '+text search configuration', 'pg_ts_config'::regclass::oid, c.oid, 0, c.cfgnamespace::regnamespace || '.' || quote_ident(c.cfgname),
       concat_ws(E'\x1f',
           'parser ' || (select p.prsnamespace::regnamespace || '.' || quote_ident(p.prsname) from pg_ts_parser p where p.oid = c.cfgparser),
           (select string_agg(mapping, E'\x1f' order by mapping)
            from (select (select t.alias from ts_token_type(c.cfgparser) t where t.tokid = m.maptokentype) || ' by '
                             || string_agg(m.mapdict::regdictionary::text, ', ' order by m.mapseqno) as mapping
                  from pg_ts_config_map m where m.mapcfg = c.oid group by m.maptokentype) mappings),
           'owner ' || c.cfgowner::regrole)
from pg_ts_config c where {own c.cfgnamespace} and {free pg_ts_config c.oid};

--if text search dictionaries
select '+text search dictionary', 'pg_ts_dict'::regclass::oid, d.oid, 0, d.dictnamespace::regnamespace || '.' || quote_ident(d.dictname),
       concat_ws(E'\x1f',
           'template ' || (select t.tmplnamespace::regnamespace || '.' || quote_ident(t.tmplname) from pg_ts_template t where t.oid = d.dicttemplate),
           'options ' || d.dictinitoption,
           'owner ' || d.dictowner::regrole)
from pg_ts_dict d where {own d.dictnamespace} and {free pg_ts_dict d.oid};

--if text search parsers
select '+text search parser', 'pg_ts_parser'::regclass::oid, p.oid, 0, p.prsnamespace::regnamespace || '.' || quote_ident(p.prsname),
       concat_ws(', ', p.prsstart::regproc, p.prstoken::regproc, p.prsend::regproc, p.prsheadline::regproc, p.prslextype::regproc)
from pg_ts_parser p where {own p.prsnamespace} and {free pg_ts_parser p.oid};

--if text search templates
select '+text search template', 'pg_ts_template'::regclass::oid, t.oid, 0, t.tmplnamespace::regnamespace || '.' || quote_ident(t.tmplname),
       concat_ws(', ', t.tmplinit::regproc, t.tmpllexize::regproc)
from pg_ts_template t where {own t.tmplnamespace} and {free pg_ts_template t.oid};
