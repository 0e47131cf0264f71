create table users (
    id bigint generated always as identity primary key,
    email text not null
);
create function touch() returns trigger language plpgsql as $$ begin return new; end; $$;
create trigger users_touch before update on users for each row execute function touch();
