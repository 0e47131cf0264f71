do $$ begin raise exception 'this cannot be taken back'; end $$;
