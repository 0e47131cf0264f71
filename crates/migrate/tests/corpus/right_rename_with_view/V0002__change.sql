alter table users rename to accounts;
create view users as select * from accounts;
