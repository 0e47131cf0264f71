drop view users;
alter table accounts rename to users;
