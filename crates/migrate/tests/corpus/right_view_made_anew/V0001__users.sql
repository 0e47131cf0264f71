create table users (
    id bigint generated always as identity primary key,
    email text not null,
    name varchar(50),
    status text not null default 'new',
    amount numeric(10, 2)
);
