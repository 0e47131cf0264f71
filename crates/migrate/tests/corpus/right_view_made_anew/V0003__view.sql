drop view people;
create view people as select id, email, status from users;
create or replace function f() returns int language sql as $$ select 1 $$;
