-- Changes and what people write to take them back: right, or wrong in ways that are seen in the wild. In random tables, TABLE, COLUMN and
-- ITS TYPE stand for one of them, and NEW for a name that nobody has.

alter table shop.orders drop constraint orders_user_fk;
alter table shop.orders add constraint orders_user_fk foreign key ("user") references shop.users on delete cascade;
alter table shop.orders add constraint orders_user_fk foreign key ("user") references shop.users;
alter table shop.orders add constraint orders_user_fk foreign key ("user") references shop.users on delete cascade not valid;
alter table shop.orders add constraint orders_user_fkey foreign key ("user") references shop.users on delete cascade;

drop index shop.orders_amount_idx;
create index orders_amount_idx on shop.orders (amount desc);
create index orders_amount_idx on shop.orders (amount desc) where amount > 10;
create unique index orders_amount_idx on shop.orders (amount desc) where amount > 10;

drop view shop.names;
create view shop.names as select id, name from shop.users;
create view shop.names with (security_barrier) as select id, name from shop.users;
create view shop.names with (security_barrier) as select name, id from shop.users;

grant select on shop.names to schema_owner; comment on view shop.names is 'for the till'; drop view shop.names;
create view shop.names with (security_barrier) as select id, name from shop.users;

drop trigger touch on shop.users; drop function shop.touch();
create function shop.touch() returns trigger language plpgsql as $$ begin return new; end $$;
create function shop.touch() returns trigger language plpgsql as $$ begin return new; end $$; create trigger touch before update of name on shop.users for each row execute function shop.touch();
create function shop.touch() returns trigger language plpgsql as $$ begin return new; end $$; create trigger touch after update of name on shop.users for each row execute function shop.touch();

drop policy own on shop.users;
create policy own on shop.users using (name = current_user);
create policy own on shop.users for select using (name = current_user);
create policy own on shop.users as restrictive for select using (name = current_user);

drop table shop.cache;
create unlogged table shop.cache (k text, v text);
create table shop.cache (k text, v text); create rule keep as on delete to shop.cache do instead nothing;
create unlogged table shop.cache (v text, k text); create rule keep as on delete to shop.cache do instead nothing;

alter table shop.cache drop k;
alter table shop.cache add k text;
alter table shop.cache add k text not null;
alter table shop.cache add k varchar;

alter table shop.users alter column mood drop default; create type shop.mood2 as enum ('ok', 'sad');
drop type shop.mood2; alter table shop.users alter column mood set default 'ok';
drop type shop.mood2;
alter table shop.users alter column mood set default 'sad'; drop type shop.mood2;

create type shop.size as enum ('s', 'm', 'l');
drop type shop.size;
drop type shop.size; create type shop.size as enum ('s', 'l', 'm');

alter type shop.point3 drop attribute x;
alter type shop.point3 add attribute x integer;
alter type shop.point3 add attribute x bigint;

alter sequence shop.numbers cache 1 increment 1;
alter sequence shop.numbers increment 5;
alter sequence shop.numbers cache 3 increment 5;

revoke all on shop.users from public; grant select, update on shop.users to schema_owner;
revoke update on shop.users from schema_owner;
revoke all on shop.users from schema_owner;

drop function shop.add(integer, integer) cascade;
create function shop.add(a integer, b integer) returns integer language sql immutable as 'select a + b'; create aggregate shop.total(integer) (sfunc = shop.add, stype = integer, initcond = '0');
create function shop.add(a integer, b integer) returns integer language sql as 'select a + b'; create aggregate shop.total(integer) (sfunc = shop.add, stype = integer, initcond = '0');
create function shop.add(a integer, b integer) returns integer language sql immutable as 'select a + b';

create table shop.NEW (id serial primary key, at timestamptz default now()); create index on shop.NEW (at); comment on table shop.NEW is 'new';
drop table shop.NEW;
drop index shop.NEW_at_idx;

alter table TABLE drop COLUMN;
alter table TABLE add COLUMN ITS TYPE;
alter table TABLE add COLUMN text;

alter table TABLE add NEW integer default 7 not null; create index on TABLE (NEW);
alter table TABLE drop NEW;
drop index if exists r.NEW_idx;

alter table TABLE rename COLUMN to NEW;
alter table TABLE rename NEW to COLUMN;

alter table TABLE alter COLUMN type text using null;
alter table TABLE alter COLUMN type ITS TYPE using null;

alter table TABLE alter COLUMN drop default;
alter table TABLE alter COLUMN set default null;

alter table TABLE alter COLUMN set not null;
alter table TABLE alter COLUMN drop not null;

comment on column TABLE.COLUMN is 'said anew';
comment on column TABLE.COLUMN is null;
comment on column TABLE.COLUMN is '';

comment on table TABLE is 'a table';
comment on table TABLE is null;
comment on table TABLE is 'a table, still';

grant select (COLUMN) on TABLE to schema_owner;
revoke select (COLUMN) on TABLE from schema_owner;
revoke select on TABLE from schema_owner;

revoke insert on TABLE from postgres;
grant insert on TABLE to postgres;
grant insert on TABLE to postgres with grant option;

alter table TABLE add constraint NEW check (COLUMN is not null) not valid;
alter table TABLE drop constraint NEW;
alter table TABLE validate constraint NEW;

alter table TABLE add constraint NEW unique (COLUMN);
alter table TABLE drop constraint NEW;
alter table TABLE drop constraint NEW; create unique index NEW on TABLE (COLUMN);

create view shop.NEW as select * from TABLE;
drop view shop.NEW;

create statistics shop.NEW on id, COLUMN from TABLE;
drop statistics shop.NEW;

alter table TABLE owner to schema_owner; grant select on TABLE to postgres;
alter table TABLE owner to postgres;
revoke select on TABLE from postgres; alter table TABLE owner to postgres;

alter table TABLE add constraint NEW foreign key (id) references shop.users on update cascade;
alter table TABLE drop constraint NEW;
alter table TABLE drop constraint NEW, add constraint NEW foreign key (id) references shop.users;

create extension citext with schema shop; alter table TABLE add NEW shop.citext;
alter table TABLE drop NEW; drop extension citext;
alter table TABLE drop NEW;

alter default privileges in schema shop grant select on tables to schema_owner; create table shop.NEW (a int);
alter default privileges in schema shop revoke select on tables from schema_owner; drop table shop.NEW;
drop table shop.NEW;

alter table TABLE alter id drop identity if exists;
alter table TABLE alter id add generated always as identity;
alter table TABLE alter id add generated by default as identity (start 5);
