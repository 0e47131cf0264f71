alter table users add constraint named check (name <> '') not valid;
alter table users validate constraint named;
