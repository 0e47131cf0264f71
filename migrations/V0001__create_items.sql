create table items (
    id bigint generated always as identity primary key,
    name text not null check (name <> ''),
    created_at timestamptz not null default now()
);
