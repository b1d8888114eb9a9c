*** Settings ***
Suite Setup       Log    flash server ready

*** Test Cases ***
TC1093: Update From 1.8 To 1.9
    Should Be Equal    1.9    1.9

Update Survives A Power Cut
    [Template]    Slot Should Boot
    a
    b

Rollback After Three Failures [TC1094]
    Fail    *HTML* slot <b>b</b> did not boot & rollback hung

*** Keywords ***
Slot Should Boot
    [Arguments]    ${slot}
    Should Not Be Equal    ${slot}    c
