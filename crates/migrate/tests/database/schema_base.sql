-- A database with every kind of object.
create schema shop;
create type shop.mood as enum ('sad', 'ok');
create type shop.point3 as (x integer, y integer);
create domain shop.email as text collate "C" default 'a@b' not null constraint has_at check (value like '%@%');
create table shop.users (
    id bigint generated always as identity primary key,
    name varchar(40) not null default 'nobody',
    email shop.email,
    mood shop.mood default 'ok',
    born date default date '2001-02-03',
    full_name text generated always as ('x' || email) stored
);
create table shop.orders (
    id serial, "user" bigint constraint orders_user_fk references shop.users on delete cascade,
    amount numeric(10, 2) constraint positive check (amount > 0),
    during tstzrange,
    constraint once unique (id, amount) deferrable
);
create index orders_amount_idx on shop.orders (amount desc) where amount > 10;
create unlogged table shop.cache (k text, v text);
create table shop.parted (at date, n integer) partition by range (at);
create table shop.parted_1 partition of shop.parted for values from ('2020-01-01') to ('2021-01-01');
create table shop.parent (a integer);
create table shop.child (b integer) inherits (shop.parent);
create view shop.names with (security_barrier) as select id, name from shop.users;
create materialized view shop.totals as select "user", sum(amount) as total from shop.orders group by 1;
create sequence shop.numbers increment 5 cache 3;
create function shop.add(a integer, b integer) returns integer language sql immutable as 'select a + b';
create procedure shop.clear() language plpgsql as $$ begin delete from shop.cache; end $$;
create function shop.touch() returns trigger language plpgsql as $$ begin return new; end $$;
create function shop.watch() returns event_trigger language plpgsql as $$ begin end $$;
create aggregate shop.total(integer) (sfunc = shop.add, stype = integer, initcond = '0');
create trigger touch before update of name on shop.users for each row execute function shop.touch();
create event trigger watch on ddl_command_end when tag in ('CREATE TABLE') execute function shop.watch();
create rule keep as on delete to shop.cache do instead nothing;
create policy own on shop.users for select using (name = current_user);
create statistics shop.users_stat (dependencies) on name, born from shop.users;
create publication changes for table shop.users;
create function shop.number(shop.mood) returns integer language sql immutable as 'select 1';
create cast (shop.mood as integer) with function shop.number(shop.mood);
