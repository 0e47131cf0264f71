do $$
begin
    if (select count(*) from information_schema.columns where table_name = 'users' and column_name = 'x') <> 1 then
        raise exception 'no x';
    end if;
end;
$$;
select 1 / (select count(*) from users);
