create view people as select id, email from users;
