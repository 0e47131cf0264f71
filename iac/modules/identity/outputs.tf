output "task_role_arn" {
  value = aws_iam_role.task.arn
}

output "execution_role_arn" {
  value = aws_iam_role.execution.arn

  # Tasks do not start before the role may read their secrets.
  depends_on = [aws_iam_role_policy.execution]
}

output "deployer_role_arn" {
  value = one(aws_iam_role.deployer[*].arn)
}
