alter table users add column active boolean not null default true;
alter table users add column at timestamptz not null default (now() at time zone 'utc');
alter table users add column settings jsonb not null default '{}'::jsonb;
alter table users add column score int not null default -1;
alter table users add column tags text[] not null default array[]::text[];
alter table users add column day date default current_date;
alter table users add column utc timestamp default timezone('utc', now());
