@test "TC1096: flash tool prints its version" {
  run echo "flash-tool 2.4.1"
  [ "$output" = "flash-tool 2.4.1" ]
}

@test "writes an image & verifies it" {
  run sh -c 'echo "verify failed at 0x1000"; exit 1'
  [ "$status" -eq 0 ]
}

@test "TC1097: refuses a wrong board <rev-a>" {
  skip "no rev-a board"
}

@test "progress bar" {
  printf 'progress \033[32m100%%\033[0m\n'
  false
}
