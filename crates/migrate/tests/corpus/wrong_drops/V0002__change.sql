drop view people;
drop function f();
drop type mood;
drop table users;
