alter table users add constraint named check (name <> '');
alter table orders add constraint orders_user foreign key (user_id) references users (id);
alter table users add constraint one_email unique (email);
