drop function f();
drop view people;
create view people as select id, email from users;
