alter table users drop constraint one_email;
alter table orders drop constraint orders_user;
alter table users drop constraint named;
