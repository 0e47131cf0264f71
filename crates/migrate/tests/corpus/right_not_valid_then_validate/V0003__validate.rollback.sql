select 'nothing to do: a validated constraint is as good as one that is not';
