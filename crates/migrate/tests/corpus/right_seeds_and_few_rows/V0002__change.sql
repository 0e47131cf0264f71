insert into users (email) values ('root@example.com') on conflict do nothing;
update users set status = 'old' where id = 1;
delete from users where email in ('a@example.com', 'b@example.com');
alter table users add column kind text;
update users set kind = 'admin' where email = 'root@example.com';
