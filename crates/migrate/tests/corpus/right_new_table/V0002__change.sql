create table orders (
    id bigint generated always as identity primary key,
    user_id bigint,
    note text
);
create index orders_user on orders (user_id);
alter table orders add constraint orders_user_fk foreign key (user_id) references users (id);
alter table orders alter column note set not null;
comment on table orders is 'what people buy';
