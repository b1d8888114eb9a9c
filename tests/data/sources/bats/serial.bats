@test "serial console answers [TC1098]" {
  true
}

@test "serial console echoes umlauts äöü" {
  [ "äöü" = "äöü" ]
}
