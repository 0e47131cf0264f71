alter table users drop constraint named;
